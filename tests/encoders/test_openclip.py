"""Any OpenCLIP model: tiny random ones, saved locally, go the way of the real ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import encoders.torchvision_import  # noqa: F401 - before open_clip

import open_clip  # isort: skip

from encoders.errors import ModelUnavailable, UnknownName
from encoders.openclip import OpenClipModel
from encoders.picture import MAX_ASPECT, on_white
from encoders.registry import load_profile

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder as open_clip saves it: configuration and one checkpoint."""
    path = tmp_path_factory.mktemp("tiny")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**TINY).state_dict(), path / "open_clip_model.safetensors")
    return path


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


def test_a_name_with_a_checkpoint_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path)
    by_name = OpenClipModel.open("tiny-clip", str(folder / "open_clip_model.safetensors"))
    by_folder = OpenClipModel.open(f"local-dir:{folder}")
    texts = ["one", "two words", "three words here"]
    np.testing.assert_array_equal(by_name.encode_texts(texts), by_folder.encode_texts(texts))
    assert by_name.space.fingerprint == by_folder.space.fingerprint
    assert by_name.space.dimension == 16


def test_other_weights_have_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    torch.manual_seed(1)
    save_file(open_clip.CLIP(**TINY).state_dict(), tmp_path / "open_clip_model.safetensors")
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
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
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
