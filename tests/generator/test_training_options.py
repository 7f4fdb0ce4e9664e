"""How trainings are asked for: defaults, folders, what is refused and in which words."""

import argparse
import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from encoders.training.data.records import MANIFEST
from generator.audio import load_settings as sound_settings
from generator.image import PictureAutoencoder
from generator.image import load_settings as picture_settings
from generator.latent_flow import FlowSettings
from generator.registry import WEIGHTS
from generator.text import TextSettings
from generator.training import audio, image_autoencoder, install, train
from generator.training.arguments import APART, bring_autoencoder, options_of
from generator.training.checkpoints import Average, keep, restore
from generator.training.errors import Refused

PARTS = train.WHAT


def parse(part: str, *options: str) -> argparse.Namespace:
    found: argparse.Namespace = import_module(f"generator.training.{part}").parse(options)
    return found


def test_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "{image,text,audio,fusion}" in shown
    assert "PART --help" in " ".join(shown.split())


@pytest.mark.parametrize("part", PARTS)
def test_every_option_is_explained_with_its_default(
    part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as ended:
        train.main([part, "--help"])
    assert ended.value.code == 0
    options = re.split(r"\n  (?=--)", capsys.readouterr().out)[1:]
    assert len(options) >= 12
    assert [each for each in options if "(default: " not in each] == []


def test_the_defaults_give_weights_of_the_shipped_shape() -> None:
    args = parse("image")
    settings = image_autoencoder.new_settings(args)
    for name, usual in (
        ("image", settings),
        ("text", TextSettings()),
        ("audio", audio.new_settings()),
    ):
        stored = json.loads((WEIGHTS / f"{name}.json").read_text())
        for field in set(stored) - {"latent_mean", "latent_scale", "latent_spread"}:
            mine = getattr(usual, field)
            assert (list(mine) if isinstance(mine, tuple) else mine) == stored[field], field
    assert PictureAutoencoder(settings).analysis.shape[0] == 32


@pytest.mark.parametrize(("name", "read"), [("image", picture_settings), ("audio", sound_settings)])
def test_settings_that_say_nothing_of_the_lead_keep_none(
    name: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    """As when they were written, and with the fingerprint that they had then."""
    stored = json.loads((WEIGHTS / f"{name}.json").read_text())
    assert read(WEIGHTS / f"{name}.json").flow.lead_until == stored.pop("lead_until") == 0.3
    (tmp_path / "before.json").write_text(json.dumps(stored))
    assert read(tmp_path / "before.json").flow.lead_until == FlowSettings((1, 1)).lead_until == 0.0


@pytest.mark.parametrize("part", PARTS)
def test_weights_are_written_among_the_runs(part: str) -> None:
    assert parse(part).weights == Path("runs") / part / "weights"
    assert parse(part, "--runs", "elsewhere").weights == Path("elsewhere/weights")
    assert parse(part, "--weights", "here").weights == Path("here")


@pytest.mark.parametrize("part", ["image", "text", "audio"])
def test_without_memory_it_has_folders_of_its_own(part: str) -> None:
    args = parse(part, "--without-memory")
    assert args.runs == Path("runs") / f"{part}-without-memory"
    assert args.weights.parent == args.runs
    assert parse(part, "--without-memory", "--runs", "here").runs == Path("here")


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_collection_is_told_in_one_line(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        train.main([part])
    message = ended.value.code  # printed, and the exit status is 1
    assert isinstance(message, str)
    assert message.startswith("there is no collection in collection: build it by python -m encoder")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_sounds_of_a_collection_that_has_none(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("")
    with pytest.raises(SystemExit, match="there are no train sounds in"):
        train.main(["audio", "--collection", str(tmp_path), "--runs", str(tmp_path / "runs"),
                    "--cache", str(tmp_path / "cache")])  # fmt: skip


def test_an_autoencoder_is_brought_only_where_it_is_asked_for(tmp_path: Path) -> None:
    args = parse("image", "--weights", str(tmp_path))
    with pytest.raises(Refused, match="--from-stored"):
        bring_autoencoder(args, "image")
    bring_autoencoder(parse("image", "--weights", str(tmp_path), "--from-stored"), "image")
    assert {path.name for path in tmp_path.iterdir()} == {"image.json", "image_vae.safetensors"}
    (tmp_path / "image.json").write_text("mine")
    bring_autoencoder(args, "image")
    assert (tmp_path / "image.json").read_text() == "mine"


def test_a_training_is_not_gone_on_with_by_other_options(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    average, path = Average(model), tmp_path / "flow.pt"
    began = options_of(parse("image", "--flow-steps", "6"))
    assert not {*began} & APART
    keep(path, 3, average, began, model=model)
    elsewhere = ["--flow-steps", "6", "--stop-at", "5", "--runs", "b", "--epoch-steps", "2"]
    again = options_of(parse("image", *elsewhere, "--stage", "flow"))
    assert restore(path, average, again, model=model) == 3
    others = options_of(parse("image", "--flow-steps", "7", "--seed", "1", "--without-memory"))
    with pytest.raises(Refused) as refused:
        restore(path, average, others, model=model)
    told = str(refused.value)
    assert "--flow-steps 7 in place of 6" in told
    assert "--seed 1 in place of 0" in told
    assert "--without-memory True in place of False" in told
    assert "--sources" not in told


def test_a_checkpoint_of_before_says_nothing_of_options(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    average, path = Average(model), tmp_path / "flow.pt"
    keep(path, 3, average, {}, model=model)
    state = torch.load(path, weights_only=True)
    del state["options"]
    torch.save(state, path)
    assert restore(path, average, {"seed": 1}, model=model) == 3


def test_shares_are_shares(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("image", "--adversarial-from", "1800")
    assert "1800 is no share, from 0 to 1" in capsys.readouterr().err


def test_installing_takes_what_is_whole_and_readable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, package = tmp_path / "trained", tmp_path / "package"
    trained.mkdir()
    package.mkdir()
    with pytest.raises(SystemExit, match=r"no complete weights: image\.json, image_vae"):
        install.main([str(trained)], package)
    for name in ("audio.json", "audio_vae.safetensors", "audio_flow.safetensors", "image.json"):
        (trained / name).write_bytes((WEIGHTS / name).read_bytes())
    (trained / "image.json").unlink()
    install.main([str(trained)], package)
    assert {path.name for path in package.iterdir()} == {
        "audio.json", "audio_vae.safetensors", "audio_flow.safetensors",
    }  # fmt: skip
    assert "audio: audio.json" in capsys.readouterr().out
    save_file({}, trained / "audio_flow.safetensors")
    before = (package / "audio_flow.safetensors").read_bytes()
    with pytest.raises(SystemExit):
        install.main([str(trained)], package)
    assert (package / "audio_flow.safetensors").read_bytes() == before
