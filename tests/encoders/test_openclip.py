"""Any OpenCLIP model: tiny random ones, saved locally, go the way of the real ones."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

import encoders.torchvision_import  # noqa: F401 - before open_clip

import open_clip  # isort: skip

from model_hub import COMMIT, Hub
from tiny_models import CLIP, PREPROCESSING, save_clap, save_clip

from encoders.errors import ModelUnavailable, UnknownName
from encoders.openclip import OpenClipModel
from encoders.picture import MAX_ASPECT, on_white
from encoders.registry import load_profile
from encoders.sensor.series import Channel, TimeSeries

REPO = "owner/tiny-clip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder as open_clip saves it: configuration and one checkpoint."""
    return save_clip(tmp_path_factory.mktemp("tiny"))


def test_a_local_folder_is_a_profile(folder: Path) -> None:
    profile = load_profile("openclip", model=f"local-dir:{folder}")
    picture = profile.encoders["image"].encode([Image.new("RGB", (40, 20), "red")])
    text = profile.encoders["text"].encode(["a red flag", ""])
    assert picture.shape == (1, 16)
    assert text.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, rtol=1e-5)
    assert profile.encoders["image"].space is profile.encoders["text"].space
    assert profile.encoders["text"].space.id == f"openclip/local-dir:{folder}"
    assert "audio" not in profile.encoders
    series = TimeSeries((Channel("temperature", np.arange(20.0)),))
    assert profile.encoders["sensor"].encode([series]).shape == (1, 16)
    assert profile.encoders["sensor"].space is profile.encoders["text"].space


def test_a_name_with_a_checkpoint_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny-clip.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(tmp_path)
    by_name = OpenClipModel.open("tiny-clip", str(folder / "open_clip_model.safetensors"))
    by_folder = OpenClipModel.open(f"local-dir:{folder}")
    texts = ["one", "two words", "three words here"]
    np.testing.assert_array_equal(by_name.encode_texts(texts), by_folder.encode_texts(texts))
    assert by_name.weights.parameters == by_folder.weights.parameters > 10_000
    assert by_name.weights.licence == by_folder.weights.licence == "mit"
    assert by_name.space.dimension == 16


def test_other_weights_have_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    save_clip(tmp_path, seed=1)
    spaces = [OpenClipModel.open(f"local-dir:{path}").space for path in (folder, tmp_path)]
    assert spaces[0].fingerprint != spaces[1].fingerprint


def test_texts_keep_their_order(folder: Path) -> None:
    model = OpenClipModel.open(f"local-dir:{folder}")
    texts = [f"{'word ' * (40 - n)}{n}" for n in range(40)]
    singly = np.concatenate([model.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(model.encode_texts(texts), singly, atol=1e-5)


def test_unknown_names_and_folders() -> None:
    with pytest.raises(UnknownName, match="ViT-B-32"):
        load_profile("openclip", model="ViT-Z-1")
    with pytest.raises(UnknownName, match=r"open_clip_config\.json"):
        load_profile("openclip", model="local-dir:no/such/folder")


def test_an_unknown_tag_says_which_there_are() -> None:
    with pytest.raises(UnknownName, match="laion2b_s34b_b79k"):
        load_profile("openclip", model="ViT-B-32", pretrained="no-such-tag")


def test_a_folder_without_weights_is_never_served_at_random(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        OpenClipModel.open(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_every_mode(mode: str) -> None:
    assert on_white(Image.new(mode, (3, 2))).mode == "RGB"


def test_transparency_shows_white() -> None:
    assert on_white(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert on_white(Image.new("RGBA", (1, 1), "red")).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1), (64, 1)])
def test_thin_pictures_are_padded(size: tuple[int, int]) -> None:
    padded = on_white(Image.new("RGB", size))
    assert max(padded.size) <= MAX_ASPECT * min(padded.size)
    assert max(padded.size) == max(size)


def tiny_tag(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **tag: object) -> None:
    """Make `tiny-clip` with the tag `test` known to open_clip, its weights on the hub."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-clip.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(tmp_path / "configs")
    known = {"test": {"url": "", "hf_hub": f"{REPO}/", **PREPROCESSING, **tag}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-clip", known)
    save_clip(hub.folder / REPO, seed=3)


def test_a_tag_is_fetched_once_and_loaded_as_open_clip_does(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_tag(served, tmp_path, monkeypatch)
    model = OpenClipModel.open("tiny-clip", "test")
    assert served.downloads() == ["README.md", "open_clip_model.safetensors"]
    assert model.space.id == "openclip/tiny-clip/test"
    assert model.weights.origin == f"{REPO} at {COMMIT}"
    assert model.weights.licence == "mit"
    size = (served.folder / REPO / "open_clip_model.safetensors").stat().st_size
    assert model.weights.size_bytes == size

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 64, 3), np.uint8))
    theirs, _, preprocess = open_clip.create_model_and_transforms("tiny-clip", "test")
    with torch.inference_mode():
        expected = theirs.eval().encode_image(preprocess(picture)[None]).numpy()
    np.testing.assert_allclose(model.encode_images([picture]), expected, atol=1e-6)

    served.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert OpenClipModel.open("tiny-clip", "test").space == model.space
    assert served.requests == []


def test_weights_trained_with_quick_gelu_get_it(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_tag(served, tmp_path, monkeypatch, quick_gelu=True)
    quick = OpenClipModel.open("tiny-clip", "test").encode_texts(["a"])
    plain = OpenClipModel.open(f"local-dir:{served.folder / REPO}").encode_texts(["a"])
    assert np.abs(quick - plain).max() > 1e-5


def test_a_hub_name(served: Hub, folder: Path) -> None:
    shutil.copytree(folder, served.folder / REPO)
    model = OpenClipModel.open(f"hf-hub:{REPO}")
    local = OpenClipModel.open(f"local-dir:{folder}")
    assert model.space.id == f"openclip/hf-hub:{REPO}"
    assert model.space.fingerprint == local.space.fingerprint
    np.testing.assert_array_equal(model.encode_texts(["a"]), local.encode_texts(["a"]))


def test_a_text_tower_and_tokenizer_of_another_repository(served: Hub, tmp_path: Path) -> None:
    """As of roberta-ViT-B-32: configuration and tokenizer are fetched, too, and nothing else."""
    from transformers import RobertaConfig

    tower = served.folder / "owner/tower"
    save_clap(tower)  # has a tokenizer of the kind
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    RobertaConfig(vocab_size=300, hidden_size=16, **sizes).save_pretrained(tower)
    text_cfg = {
        "hf_model_name": "owner/tower",
        "hf_tokenizer_name": "owner/tower",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "mean_pooler",
    }
    config = {**CLIP, "text_cfg": text_cfg}
    repo = served.folder / REPO
    repo.mkdir(parents=True)
    (repo / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    local = {**text_cfg, "hf_model_name": str(tower), "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(**{**config, "text_cfg": local})
    save_file(model.state_dict(), repo / "open_clip_model.safetensors")

    opened = OpenClipModel.open(f"hf-hub:{REPO}")
    assert opened.encode_texts(["a dog barks", "rain"]).shape == (2, 16)
    assert served.downloads().count("config.json") == 1
    assert "model.safetensors" not in served.downloads()


class Danger:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("danger",)


def test_a_pickle_is_read_as_tensors_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny-clip.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(tmp_path)
    weights = load_file(folder / "open_clip_model.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "good.pt")
    good = OpenClipModel.open("tiny-clip", str(tmp_path / "good.pt"))
    assert good.weights.licence is None

    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": weights, "more": Danger()}, tmp_path / "bad.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "good.pt").read_bytes()[:999])
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    for name in ("bad.pt", "cut.pt", "cut.safetensors"):
        with pytest.raises(ModelUnavailable, match="could not be loaded from"):
            OpenClipModel.open("tiny-clip", str(tmp_path / name))
    assert not (tmp_path / "danger").exists()
