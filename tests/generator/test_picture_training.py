"""The stages of the picture autoencoder, on a handful of stamps."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from encoders import judge
from encoders.bundled import text_and_image
from encoders.training.data import Item
from encoders.training.data.records import write_manifest
from generator.registry import WEIGHTS
from generator.training import image, image_autoencoder, image_figures, losses

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
Towers = Sequence[object]


@pytest.fixture(scope="module")
def towers() -> Towers:
    return text_and_image()


@pytest.fixture
def folder(tmp_path: Path, towers: Towers, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight stamps, five to train on, and a copy of the weights."""
    for module in (image_autoencoder, losses):
        monkeypatch.setattr(module, "text_and_image", lambda *_: towers)  # loaded once
    items = []
    for place, path in enumerate(sorted(SAMPLES.glob("animals/birds/*.png"))[:8]):
        shutil.copy(path, tmp_path / path.name)
        split = "train" if place < 5 else ("validation" if place < 7 else "test")
        caption = path.stem
        items.append(
            Item(
                path.stem, "stamps", "", caption, split, "image", path.name, caption, (), "", "GPL"
            )
        )
    assert len(items) == 8
    write_manifest(tmp_path, items)
    (tmp_path / "weights").mkdir()
    for path in WEIGHTS.glob("image*"):
        shutil.copy(path, tmp_path / "weights")
    return tmp_path


def train(folder: Path, *options: str) -> None:
    places = ["--collection", ".", "--runs", "runs", "--weights", "weights"]
    places[1::2] = [str(folder / each) for each in places[1::2]]
    sizes = ["--batch-size", "2", "--epoch-steps", "1", "--perceptual-sides", "32"]
    image.main([*places, *sizes, "--device", "cpu", *options])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    stored = load_file(folder / "weights" / "image_vae.safetensors")
    return {name: tensor.clone() for name, tensor in stored.items()}  # the file is written over


def changed(folder: Path, before: dict[str, torch.Tensor]) -> set[str]:
    """Parts of which any tensor is another."""
    after = weights(folder)
    assert after.keys() == before.keys()
    return {name.split(".")[1] for name in before if not torch.equal(after[name], before[name])}


def test_the_decoder_alone_is_trained_on(folder: Path) -> None:
    before = weights(folder)
    others = {path: path.read_bytes() for path in (folder / "weights").glob("image[._]*[nw]*")}
    train(folder, "--stage", "decoder", "--decoder-steps", "2", "--adversarial-from", "0")
    assert changed(folder, before) <= {"decoder", "post_quant_conv"}
    assert "decoder" in changed(folder, before)
    kept = [path for path in others if "vae" not in path.name]
    assert len(kept) == 2
    assert all(path.read_bytes() == others[path] for path in kept)
    assert (folder / "runs" / "decoder-2.png").is_file()


def test_a_stopped_training_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(folder, "--stage", "decoder", "--decoder-steps", "1")
    capsys.readouterr()
    train(folder, "--stage", "decoder", "--decoder-steps", "2", "--resume")
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert line.startswith("step 2/2 pixels ")
    assert "R@10" in line
    state = torch.load(folder / "runs" / "decoder.pt", weights_only=True)
    assert (state["step"], state["updates"]) == (2, 2)
    assert state["critic_optimizer"]["state"][0]["step"] == 2


def test_both_halves_are_trained_from_nothing(folder: Path) -> None:
    before = weights(folder)
    train(folder, "--stage", "autoencoder", "--autoencoder-steps", "1", "--meaning-weight", "0")
    assert {"encoder", "decoder"} <= changed(folder, before)


def test_figures_stand_beside_those_of_the_real_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = judge.timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    monkeypatch.setattr(judge, "network", lambda: network)
    monkeypatch.setattr(judge, "SIDE_PX", 32)
    options = ["--collection", str(folder), "--runs", str(folder), "--split", "test"]
    image_figures.main([*options, "--weights", str(folder / "weights")])
    first, *table = capsys.readouterr().out.splitlines()
    assert first == "1 pictures of test, 1 captions"
    real, made = ([float(cell) for cell in row.split("|")[2:-1]] for row in table[2:])
    assert real == pytest.approx([60, 1, 1, 1, 1, 1, 1])
    assert 15 < made[0] < 40
    assert 0.5 < made[1] < 1
