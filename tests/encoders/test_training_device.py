"""Training computes where it is told to, and goes on after an interruption.

The device `meta` has shapes but no values, and mixes with no other: a step that runs on it up to
the value of its loss would run on a GPU.
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from encoders.bundled import text_and_image
from encoders.training import audio, contrastive, image, train
from encoders.training.class_head import Classes
from encoders.training.data import Item
from encoders.training.data.records import write_manifest
from encoders.training.export_pretrained import random_head
from encoders.training.precision import checked_device

VALUE_ASKED = "item\\(\\) cannot be called on meta"


def test_an_absent_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert checked_device("cpu") == "cpu"
    with pytest.raises(SystemExit):
        train.main(["audio", "--device", "abacus"])
    assert "no device 'abacus' here; there is: cpu" in capsys.readouterr().err


def sounds_of(folder: Path) -> list[Item]:
    items = []
    for number, name in enumerate(("horn", "bell", "drum")):
        tone = np.sin(np.arange(16_000) * (0.05 + 0.03 * number))
        soundfile.write(folder / f"{name}.flac", tone, 16_000)
        path = f"{name}.flac"
        items.append(Item(path, "midi", "", name, "train", "audio", path, name, (), path, "CC0"))
    items.append(replace(items[0], id="other", split="validation"))
    return items


def test_a_step_of_the_sound_tower_stays_on_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "mixed_precision", lambda _: nullcontext())
    settings = audio.Settings(tmp_path, tmp_path, tmp_path, batch=3, device="meta")
    items = sounds_of(tmp_path)[:3]
    heard = audio.spectrograms(items, tmp_path, tmp_path / "log_mel.npz")
    texts = contrastive.TextVectors(text_and_image()[0], tmp_path / "texts.npz")
    trainee = audio.Trainee(settings).to(settings.device)
    bank = audio.bank_of(items, texts, settings)
    seen = {"horn": np.ones((2, 384), np.float32), "bell": np.ones((1, 384), np.float32)}
    optimizer = torch.optim.AdamW(trainee.parameters())
    rng = np.random.default_rng(0)
    with pytest.raises(RuntimeError, match=VALUE_ASKED):
        audio.step(trainee, optimizer, items, heard, bank, seen, settings, rng)
    assert optimizer.state  # it came to its end


def test_phrases_are_among_the_texts_of_sounds_but_not_of_spoken_words(tmp_path: Path) -> None:
    settings = audio.Settings(tmp_path, tmp_path, tmp_path, phrases=1.0)
    horn, bell, _, _ = sounds_of(tmp_path)
    word = replace(bell, source="speech")
    texts = contrastive.TextVectors(text_and_image()[0], tmp_path / "texts.npz")
    bank = audio.bank_of([horn, word], texts, settings)
    assert set(bank.row) == {"horn", "bell", "the sound of horn", "a recording of horn"}
    rng = audio.random.Random(0)
    said = {audio.said_of(horn, rng, settings.phrases) for _ in range(20)}
    assert said == {"the sound of horn", "a recording of horn"}
    assert {audio.said_of(word, rng, settings.phrases) for _ in range(20)} == {"bell"}


def test_a_share_of_phrases_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["image", "--phrases", "2"])
    assert "--phrases: a share is 0 to 1" in capsys.readouterr().err


def test_a_step_of_the_projection_stays_on_its_device(tmp_path: Path) -> None:
    head = image.Projection(random_head(), dropout=0.1).to("meta")
    names = torch.nn.functional.normalize(torch.randn(20, 384))
    classes = Classes(torch.randn(20, 1280), torch.zeros(20), names).to("meta")
    items = sounds_of(tmp_path)[:3]
    texts = contrastive.TextVectors(text_and_image()[0], tmp_path / "texts.npz")
    features = torch.rand(3, 1280, device="meta")
    extra = image.imagined_loss(head, features, classes)
    drawn = [item.caption for item in items]
    optimizer = torch.optim.AdamW(head.parameters())
    with pytest.raises(RuntimeError, match=VALUE_ASKED):
        image.step(head, features, optimizer, items, drawn, texts, extra)
    assert optimizer.state


def logged(run: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (run / "log.jsonl").read_text().splitlines()]


def fails_at(function: Callable[..., float], number: int) -> Callable[..., float]:
    """The function; its call of that number is a kill."""
    calls = count(1)

    def run(*arguments: Any, **named: Any) -> float:
        if next(calls) == number:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    return run


def test_a_killed_training_of_the_sound_tower_comes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, sounds_of(tmp_path))
    stored: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(audio, "store", lambda tower: stored.append(tower.state_dict()))
    monkeypatch.setattr(audio, "picture_vectors", lambda *_: {})
    run = tmp_path / "run"
    settings = audio.Settings(tmp_path, run, tmp_path / "cache", epochs=2, steps=2, batch=2)
    with monkeypatch.context() as killed:
        killed.setattr(audio, "step", fails_at(audio.step, 4))  # in the middle of the second epoch
        with pytest.raises(KeyboardInterrupt):
            audio.train(settings)
    assert logged(run) == [1]
    audio.train(settings)
    audio.train(replace(settings, run=tmp_path / "other"))
    assert logged(run) == logged(tmp_path / "other") == [1, 2]
    resumed, whole = stored
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_run_is_not_begun_anew_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, sounds_of(tmp_path))
    monkeypatch.setattr(audio, "store", lambda _: None)
    monkeypatch.setattr(audio, "picture_vectors", lambda *_: {})
    monkeypatch.setattr(audio, "Settings", partial(audio.Settings, steps=1, batch=2))
    asked = ["audio", "--collection", str(tmp_path), "--run", str(tmp_path / "run")]
    train.main([*asked, "--epochs", "1"])
    with pytest.raises(SystemExit):
        train.main([*asked, "--epochs", "2"])
    assert "epochs 1 then, 2 now" in capsys.readouterr().err
    train.main([*asked, "--epochs", "2", "--anew"])
    assert logged(tmp_path / "run" / "audio") == [1, 1, 2]


@pytest.mark.slow
def test_a_killed_training_of_the_picture_tower_comes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = []
    for number, (name, colour) in enumerate((("rose", "red"), ("leaf", "green"), ("sea", "blue"))):
        Image.new("RGB", (40, 30 + number), colour).save(tmp_path / f"{name}.png")
        path = f"{name}.png"
        split = "train" if number < 2 else "validation"
        items.append(Item(path, "stamps", "", name, split, "image", path, name, (), path, "CC0"))
    write_manifest(tmp_path, items)
    classes = Classes(torch.randn(20, 1280), torch.zeros(20), torch.eye(384)[:20])
    monkeypatch.setattr(Classes, "load", lambda *_: classes)
    monkeypatch.setattr(image, "image_checkpoint", lambda _: {})
    monkeypatch.setattr(image, "trunk_state", lambda _: {})  # begins with the stored one
    monkeypatch.setattr(image, "class_head", lambda _: random_head())
    stored: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(
        image, "store", lambda tower, head: stored.append({**tower, **head.state_dict()})
    )
    run = tmp_path / "run"
    settings = image.Settings(
        tmp_path, run, tmp_path / "cache", views=1, epochs=2, batch=1, head_steps=2, head_batch=2
    )
    with monkeypatch.context() as killed:
        # Two steps of the projection, two of the first epoch, one of the second.
        killed.setattr(image, "step", fails_at(image.step, 6))
        with pytest.raises(KeyboardInterrupt):
            image.train(settings)
    assert logged(run) == [0, 1]
    image.train(settings)
    image.train(replace(settings, run=tmp_path / "other"))
    assert logged(run) == logged(tmp_path / "other") == [0, 1, 2]
    resumed, whole = stored
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
