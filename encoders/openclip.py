"""Image and text encoders over any OpenCLIP model: a hub name, a local file or a local folder.

A local folder holds `open_clip_config.json`, tokenizer files where the text tower needs them, and
the weights: one checkpoint, or one safetensors file per tower (`visual`, `text`). Pickled weights
are read as tensors only, never as code.
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
from typing import Any

import numpy as np
import torch
from PIL import Image

import encoders.torchvision_import  # noqa: F401 - before open_clip

import open_clip  # isort: skip
from open_clip.factory import load_state_dict  # isort: skip
from open_clip.tokenizer import HFTokenizer  # isort: skip
from open_clip.transform import PreprocessCfg, image_transform_v2  # isort: skip

from encoders.base import Encoder, Space, Vectors, Weights
from encoders.checkpoints import LOADING_ERRORS
from encoders.errors import ModelUnavailable
from encoders.hub import LOCAL
from encoders.length_batches import batches_by_length
from encoders.openclip_source import HUB, Source, has_schema, locate
from encoders.picture import on_white

__all__ = ["HUB", "LOCAL", "OpenClipImageEncoder", "OpenClipModel", "OpenClipTextEncoder"]

BATCH = 32  # items per forward pass: bounds memory, and longer ones are no faster on a CPU


class OpenClipModel:
    """The two towers with their preprocessing and tokenizer; safe to call from several threads."""

    def __init__(
        self,
        model: Any,
        preprocess: Any,
        tokenizer: Any,
        space: Space,
        weights: Weights,
    ) -> None:
        self._model = model.eval().requires_grad_(False)
        self._preprocess = preprocess
        self._tokenizer = tokenizer
        # A fast tokenizer of `transformers` raises "Already borrowed" on concurrent calls.
        self._tokenizer_lock = threading.Lock()
        self.space = space
        self.weights = weights

    @classmethod
    def open(
        cls, name: str, pretrained: str | None = None, space: Space | None = None
    ) -> OpenClipModel:
        """Load `name`: a built-in OpenCLIP name with a pretrained tag or checkpoint file, or
        `hf-hub:owner/name`, or `local-dir:folder`.

        `space` is computed from the loaded weights when it is not given.
        Raises UnknownName, or ModelUnavailable when the weights cannot be had.
        """
        source = locate(name, pretrained)
        try:
            model = _create(source)
            tokenizer = _tokenizer(source)
        except LOADING_ERRORS as error:
            raise ModelUnavailable(
                f"OpenCLIP model {name} could not be loaded from {source.origin}: {error}"
            ) from error
        preprocess_cfg = open_clip.get_model_preprocess_cfg(model)
        preprocess = image_transform_v2(PreprocessCfg(**preprocess_cfg), is_train=False)
        if space is None:
            space = _space(name, pretrained, model, preprocess_cfg)
        weights = Weights(
            name=name if has_schema(name) else f"{name} ({pretrained})",
            origin=source.origin,
            parameters=sum(each.numel() for each in model.parameters()),
            size_bytes=sum(path.stat().st_size for path in source.weights),
            licence=source.licence,
        )
        return cls(model, preprocess, tokenizer, space, weights)

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
        vectors = np.empty((len(texts), self.space.dimension), np.float32)
        for places in batches_by_length(texts, BATCH):
            tokens = self._tokens([texts[place] for place in places])
            vectors[places] = self._model.encode_text(tokens).float().numpy()
        return vectors

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


def _create(source: Source) -> Any:
    """The model with weights in fp32; never a randomly initialised one."""
    towers = {}
    if source.folder is not None:
        towers = {tower: source.folder / f"{tower}.safetensors" for tower in ("visual", "text")}
    if not towers or not all(path.is_file() for path in towers.values()):
        checkpoint = None if source.checkpoint is None else str(source.checkpoint)
        return open_clip.create_model(
            source.name, checkpoint, require_pretrained=True, **source.overrides
        )
    with _without_warnings_about_missing_weights():
        model = open_clip.create_model(
            source.name, load_weights=False, pretrained_text=False, **source.overrides
        )
    for tower, path in towers.items():
        getattr(model, tower).load_state_dict(load_state_dict(str(path)), strict=True)
    return model


def _tokenizer(source: Source) -> Any:
    if source.tokenizer is None:
        return open_clip.get_tokenizer(source.name)
    text_cfg = source.config["text_cfg"]
    return HFTokenizer(
        str(source.tokenizer),
        context_length=text_cfg.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text_cfg.get("tokenizer_mode"),
        **text_cfg.get("tokenizer_kwargs", {}),
    )


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
    identity = f"openclip/{name}" if has_schema(name) else f"openclip/{name}/{pretrained}"
    return Space(identity, dimension, digest.hexdigest())


@torch.inference_mode()
def _dimension(model: Any) -> int:
    size = model.visual.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return int(model.eval().encode_image(torch.zeros(1, 3, height, width)).shape[-1])
