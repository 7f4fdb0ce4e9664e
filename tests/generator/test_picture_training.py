"""The stages of the picture autoencoder, on a handful of stamps."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from encoders import judge
from encoders.base import Space, Vectors, normalize
from encoders.bundled import text_and_image
from encoders.training.data import Item
from encoders.training.data.records import write_manifest
from generator.base import Condition
from generator.image import PictureGenerator, square, to_tensor
from generator.registry import WEIGHTS, load_weights
from generator.training import (
    image,
    image_autoencoder,
    image_data,
    image_figures,
    imagined,
    losses,
)

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
Towers = Sequence[object]


@pytest.fixture(scope="module")
def towers() -> Towers:
    return text_and_image()


@pytest.fixture
def folder(tmp_path: Path, towers: Towers, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight stamps, five to train on, and a copy of the weights."""
    for module in (image_autoencoder, imagined, losses):
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
    return {
        name.removeprefix("vae.").split(".")[0]
        for name in before
        if not torch.equal(after[name], before[name])
    }


def test_the_decoder_alone_is_trained_on(folder: Path) -> None:
    before = weights(folder)
    others = {path: path.read_bytes() for path in (folder / "weights").glob("image[._]*[nw]*")}
    train(folder, "--stage", "decoder", "--decoder-steps", "2", "--adversarial-from", "0")
    assert changed(folder, before) <= {"decoder", "post_quant_conv"}
    assert "decoder" in changed(folder, before)
    kept = [path for path in others if "vae" not in path.name]
    assert {path.name for path in kept} >= {"image.json", "image_flow.safetensors"}
    assert all(path.read_bytes() == others[path] for path in kept)
    assert (folder / "runs" / "decoder-2.png").is_file()


def test_a_stopped_training_comes_to_the_same_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = weights(folder)
    options = ["--stage", "decoder", "--decoder-steps", "2", "--adversarial-from", "0"]
    train(folder, *options)
    expected = weights(folder)
    save_file(stored, folder / "weights" / "image_vae.safetensors")
    train(folder, *options, "--stop-at", "1")
    assert not same(weights(folder), expected)
    capsys.readouterr()
    train(folder, *options, "--resume")
    assert same(weights(folder), expected)
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert line.startswith("step 2/2 pixels ")
    assert "R@10" in line
    state = torch.load(folder / "runs" / "decoder.pt", weights_only=True)
    assert (state["step"], state["updates"]) == (2, 2)
    assert state["critic_optimizer"]["state"][0]["step"] == 2


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_an_autoencoder_starts_from_principal_components(folder: Path) -> None:
    """Trained a step from the stored weights, it is as good as these linear maps, and readable."""
    sizes = ["--latent-channels", "5", "--autoencoder-steps", "1"]
    train(folder, "--stage", "autoencoder", "--from-stored", "--meaning-weight", "0", *sizes)
    model = image_figures.autoencoder(folder / "weights")
    assert (model.settings.latent_channels, model.settings.patches) == (5, True)
    picture = to_tensor(square(Image.open(next(folder.glob("*.png"))), 64)[None])
    with torch.inference_mode():
        latents = model.posterior(picture).mode()
        linear = F.conv_transpose2d(
            F.conv2d(picture, model.analysis, stride=8), model.synthesis, stride=8
        )
        error = (model.decode(latents) - linear).abs().mean()
    assert latents.shape == (1, 5, 8, 8)
    assert error < 0.05
    assert (picture - linear).square().mean() < picture.var() / 4


def test_a_flow_is_trained_over_other_latents(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the stored one; killed and resumed, it comes to the same weights."""
    monkeypatch.setattr(image_data, "embed_all", unlike_vectors)
    sizes = ["--latent-channels", "5", "--autoencoder-steps", "1", "--perceptual-weight", "0"]
    train(folder, "--stage", "autoencoder", *sizes, "--meaning-weight", "0")
    options = ["--stage", "flow", "--from-stored", "--flow-steps", "2", "--flow-batch-size", "2"]
    train(folder, *options)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert all("imagined R@10" in line for line in lines[-2:])
    assert (folder / "runs" / "flow-2.png").is_file()
    whole = flow_weights(folder)
    train(folder, *options, "--stop-at", "1")
    half = flow_weights(folder)
    train(folder, *options, "--resume")
    # Sums of vectors may depend on where they lie in memory, so the last bits may differ.
    assert (flow_weights(folder) - whole).norm() < (half - whole).norm() / 20
    generator = PictureGenerator(folder / "weights", runtime="torch")
    assert generator.settings.latent_spread[0] == pytest.approx(1, abs=1e-3)  # most prominent
    query = unlike_vectors([None])[0][0]
    nothing = Condition(query=query, fused=query, neighbours=(), weights=np.zeros(0, np.float32))
    made = generator.generate(nothing, seed=0, creativity=1.0)
    assert made.media.size == (64, 64)


def test_a_flow_without_memory_is_what_evaluate_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the stored autoencoder, and from nothing: the stored flow has learnt with a memory. Or
    from that all the same."""
    monkeypatch.setattr(image_data, "embed_all", unlike_vectors)
    for path in (folder / "weights").iterdir():
        path.unlink()
    options = ["--stage", "flow", "--flow-steps", "2", "--flow-batch-size", "2"]
    train(folder, *options, "--from-stored", "--without-memory")
    found = load_weights(folder / "weights", Space("bundled", 384, "any"))
    assert set(found) == {"image"}
    query = unlike_vectors([None])[0][0]
    alone = Condition(query=query, fused=query, neighbours=(), weights=np.zeros(0, np.float32))
    assert found["image"].generate(alone, seed=0, creativity=1.0).media.size == (64, 64)
    assert (folder / "weights/image_vae.safetensors").read_bytes() == (
        WEIGHTS / "image_vae.safetensors"
    ).read_bytes()
    unlike = load_file(WEIGHTS / "image_flow.safetensors")
    made = load_file(folder / "weights/image_flow.safetensors")
    name = "unet.conv_in.weight"
    assert (made[name].float() - unlike[name].float()).abs().mean() > 0.01
    train(folder, *options, "--from-stored", "--without-memory", "--start", "stored")
    made = load_file(folder / "weights/image_flow.safetensors")
    for name in ("unet.conv_in.weight", "unet.conv_out.weight"):
        assert 0 < (made[name].float() - unlike[name].float()).abs().mean() < 0.001


def flow_weights(folder: Path) -> torch.Tensor:
    state = torch.load(folder / "runs" / "flow.pt", weights_only=True)["model"]
    return torch.cat([each.flatten() for each in state.values()])


def unlike_vectors(items: Sequence[object], *_: object) -> tuple[Vectors, Vectors]:
    random = np.random.default_rng(0)
    captions, pictures = (
        normalize(random.normal(size=(len(items), 384)).astype(np.float32)) for _ in range(2)
    )
    return captions, pictures


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
