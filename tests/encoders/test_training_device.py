"""Training computes where it is told to, and goes on after an interruption.

The device `meta` has shapes but no values, and mixes with no other: a step that runs on it up to
the value of its loss would run on a GPU.
"""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

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


def test_the_sound_tower_is_trained_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = sounds_of(tmp_path)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "horn.png")
    write_manifest(tmp_path, items)
    stored = []
    monkeypatch.setattr(audio, "store", stored.append)
    run = tmp_path / "run"
    settings = audio.Settings(tmp_path, run, tmp_path / "cache", epochs=1, steps=1, batch=2)
    monkeypatch.setattr(audio, "picture_vectors", lambda *_: {})
    audio.train(settings)
    audio.train(settings)
    audio.train(replace(settings, epochs=2))
    epochs = [json.loads(line)["epoch"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert epochs == [1, 1, 2]  # with other settings, it begins anew
    assert len(stored) == 3
