"""Image and text encoders over any OpenCLIP model: a hub name, a local file or a local folder.

A local folder holds `open_clip_config.json`, tokenizer files where the text tower needs them, and
the weights: one checkpoint, or one safetensors file per tower (`visual`, `text`).
Knows nothing about profiles; imports torch and open_clip, so import it only when a model is
wanted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import encoders.torchvision_import  # noqa: F401 - before open_clip

import open_clip  # isort: skip
from open_clip.factory import load_state_dict  # isort: skip
from open_clip.transform import PreprocessCfg, image_transform_v2  # isort: skip

from encoders.base import Encoder, Space, Vectors
from encoders.errors import ModelUnavailable, UnknownName
from encoders.picture import on_white

LOCAL = "local-dir:"
HUB = "hf-hub:"
BATCH = 32  # items per forward pass: bounds memory, and longer ones are no faster on a CPU


class OpenClipModel:
    """The two towers with their preprocessing and tokenizer; safe to call from several threads."""

    def __init__(self, model: Any, preprocess: Any, tokenizer: Any, space: Space) -> None:
        self._model = model.eval().requires_grad_(False)
        self._preprocess = preprocess
        self._tokenizer = tokenizer
        # A fast tokenizer of `transformers` raises "Already borrowed" on concurrent calls.
        self._tokenizer_lock = threading.Lock()
        self.space = space

    @classmethod
    def open(
        cls, name: str, pretrained: str | None = None, space: Space | None = None
    ) -> OpenClipModel:
        """Load `name`: a built-in OpenCLIP name with a pretrained tag or checkpoint file, or
        `hf-hub:owner/name`, or `local-dir:folder`.

        `space` is computed from the loaded weights when it is not given.
        Raises UnknownName, or ModelUnavailable when the weights cannot be had.
        """
        _check_name(name, pretrained)
        try:
            model = _create(name, None if _has_schema(name) else pretrained)
            tokenizer = open_clip.get_tokenizer(name)
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            source = name if _has_schema(name) else f"{name} ({pretrained})"
            raise ModelUnavailable(
                f"OpenCLIP model {source} could not be loaded: {error}. Without a network, give "
                f"a checkpoint file as `pretrained`, or a folder as {LOCAL}/path/to/folder."
            ) from error
        preprocess_cfg = open_clip.get_model_preprocess_cfg(model)
        preprocess = image_transform_v2(PreprocessCfg(**preprocess_cfg), is_train=False)
        if space is None:
            space = _space(name, pretrained, model, preprocess_cfg)
        return cls(model, preprocess, tokenizer, space)

    @property
    def visual(self) -> torch.nn.Module:
        """Image tower: (B, 3, H, W) -> (B, D). Of a timm model: `trunk`, then `head`."""
        return self._model.visual  # type: ignore[no-any-return]

    @property
    def text(self) -> torch.nn.Module:
        """Text tower of a model with one of its own: ids (B, T) -> (B, D)."""
        return self._model.text  # type: ignore[no-any-return]

    def preprocess(self, picture: Image.Image) -> torch.Tensor:
        """(3, H, W), ready for the image tower, of a picture of any mode."""
        return self._preprocess(on_white(picture))  # type: ignore[no-any-return]

    @torch.inference_mode()
    def encode_images(self, pictures: Sequence[Image.Image]) -> Vectors:
        """(N, D), not normalised."""
        rows = []
        for start in range(0, len(pictures), BATCH):
            pixels = torch.stack([self.preprocess(p) for p in pictures[start : start + BATCH]])
            rows.append(self._model.encode_image(pixels).float().numpy())
        return np.concatenate(rows)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(N, D), not normalised. What exceeds the model's context length is not read."""
        # Texts of like length share a batch, so that little padding is computed.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows: list[Vectors] = []
        for start in range(0, len(order), BATCH):
            tokens = self._tokens([texts[i] for i in order[start : start + BATCH]])
            rows.append(self._model.encode_text(tokens).float().numpy())
        vectors = np.concatenate(rows)
        restored = np.empty_like(vectors)
        restored[order] = vectors
        return restored

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        """(B, T): padded to the context length, or, where padding is masked, to the longest."""
        with self._tokenizer_lock:
            tokens: torch.Tensor = self._tokenizer(texts)
        config = getattr(getattr(self._model, "text", None), "config", None)
        if (pad := getattr(config, "pad_token_id", None)) is None:
            return tokens
        used = (tokens != pad).any(dim=0).nonzero()
        return tokens[:, : int(used.max()) + 1] if len(used) else tokens[:, :1]


class OpenClipImageEncoder(Encoder):
    modality = "image"

    def __init__(self, model: OpenClipModel) -> None:
        self.model = model
        self.space = model.space

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return self.model.encode_images(batch)


class OpenClipTextEncoder(Encoder):
    modality = "text"

    def __init__(self, model: OpenClipModel) -> None:
        self.model = model
        self.space = model.space

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return self.model.encode_texts(batch)


def _has_schema(name: str) -> bool:
    return name.startswith((LOCAL, HUB))


def _check_name(name: str, pretrained: str | None) -> None:
    if name.startswith(LOCAL):
        if not (Path(name.removeprefix(LOCAL)) / "open_clip_config.json").is_file():
            raise UnknownName(f"{name.removeprefix(LOCAL)} holds no open_clip_config.json")
        return
    if name.startswith(HUB):
        return
    builtin = name.replace("/", "-")
    if builtin not in open_clip.list_models():
        raise UnknownName(
            f"no OpenCLIP model {name!r}; give {HUB}owner/name, {LOCAL}folder, or one of: "
            + ", ".join(open_clip.list_models())
        )
    tags = open_clip.list_pretrained_tags_by_model(builtin)
    if pretrained not in tags and not Path(pretrained or "").is_file():
        raise UnknownName(
            f"no weights {pretrained!r} of {name}; give a checkpoint file, or one of: "
            + ", ".join(tags)
        )


def _create(name: str, pretrained: str | None) -> Any:
    """The model with weights in fp32; never a randomly initialised one."""
    if not name.startswith(LOCAL):
        return open_clip.create_model(name, pretrained, require_pretrained=True)
    folder = Path(name.removeprefix(LOCAL)).resolve()
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    overrides = {}
    text_cfg = config["model_cfg"]["text_cfg"]
    if text_cfg.get("hf_model_name", "").startswith("."):
        # open_clip takes the name as it stands: relative to the working directory.
        source = str((folder / text_cfg["hf_model_name"]).resolve())
        overrides["text_cfg"] = {**text_cfg, "hf_model_name": source, "hf_model_pretrained": False}
    towers = {tower: folder / f"{tower}.safetensors" for tower in ("visual", "text")}
    if not all(path.is_file() for path in towers.values()):
        return open_clip.create_model(name, require_pretrained=True, **overrides)
    with _without_warnings_about_missing_weights():
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False, **overrides)
    for tower, path in towers.items():
        getattr(model, tower).load_state_dict(load_state_dict(str(path)), strict=True)
    return model


@contextmanager
def _without_warnings_about_missing_weights() -> Iterator[None]:
    """open_clip warns on the root logger that the model is random; it is filled right after."""

    def drop(record: logging.LogRecord) -> bool:
        return record.module != "factory"

    root = logging.getLogger()
    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)


def _space(name: str, pretrained: str | None, model: Any, preprocess_cfg: Any) -> Space:
    digest = hashlib.sha256()
    digest.update(json.dumps(preprocess_cfg, sort_keys=True, default=list).encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    dimension = int(getattr(model, "embed_dim", 0)) or _dimension(model)
    identity = f"openclip/{name}" if _has_schema(name) else f"openclip/{name}/{pretrained}"
    return Space(identity, dimension, digest.hexdigest())


@torch.inference_mode()
def _dimension(model: Any) -> int:
    size = model.visual.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return int(model.eval().encode_image(torch.zeros(1, 3, height, width)).shape[-1])
