"""Sound and text encoders over any CLAP model: a hub name or a local folder.

CLAP (Wu et al. 2023) is to sounds and texts what CLIP is to pictures and texts. A local folder is
what transformers' `ClapModel` and `ClapProcessor` save. Knows nothing about profiles; imports
torch and transformers, so import it only when a model is wanted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import encoders.torchvision_import  # noqa: F401 - before transformers

from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel  # isort: skip

from encoders import hub
from encoders.base import Encoder, Space, Vectors, Waveform, Weights
from encoders.checkpoints import LOADING_ERRORS
from encoders.errors import ModelUnavailable, UnknownName
from encoders.length_batches import batches_by_length
from encoders.log_mel import resample
from encoders.sound_windows import mean_vector

CONFIG = "config.json"
FEATURES = "preprocessor_config.json"
CHECKPOINTS = ("model.safetensors", "pytorch_model.bin")  # the latter with weights_only
BATCH = 8  # windows, or texts, per forward pass
# Raise the number when code changes the vectors.
PREPARATION = "unit length; mean of whole windows; segments of a window; 2"

Floats = npt.NDArray[np.float32]


class Clap:
    """The two towers with their feature extractor and tokenizer; safe to call from threads."""

    def __init__(
        self, model: Any, features: Any, tokenizer: Any, space: Space, weights: Weights
    ) -> None:
        self._model = model.eval().requires_grad_(False)
        self._features = features
        self._tokenizer = tokenizer
        # A fast tokenizer raises "Already borrowed" on concurrent calls.
        self._tokenizer_lock = threading.Lock()
        text = model.config.text_config
        self._most_tokens = text.max_position_embeddings - text.pad_token_id - 1
        self.space = space
        self.weights = weights

    @classmethod
    def open(cls, name: str) -> Clap:
        """Load `owner/name` of the hub, or `local-dir:folder`.

        Raises UnknownName, or ModelUnavailable when the weights cannot be had or do not fit.
        """
        folder, origin = _locate(name)
        checkpoint = hub.find(folder, CHECKPOINTS)
        try:
            model = _load(folder)
            features = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except ModelUnavailable:
            raise
        except LOADING_ERRORS as error:
            raise ModelUnavailable(
                f"CLAP model {name} could not be loaded from {origin}: {error}"
            ) from error
        space = Space(
            f"clap/{name}", int(model.config.projection_dim), _fingerprint(folder, checkpoint)
        )
        weights = Weights(
            name=name,
            origin=origin,
            parameters=sum(each.numel() for each in model.parameters()),
            size_bytes=checkpoint.stat().st_size,
            licence=hub.licence_of(folder),
        )
        return cls(model, features, tokenizer, space, weights)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(N, D). What exceeds the model's context length is not read."""
        vectors = np.empty((len(texts), self.space.dimension), np.float32)
        for places in batches_by_length(texts, BATCH):
            with self._tokenizer_lock:
                tokens = self._tokenizer(
                    [texts[place] for place in places],
                    padding=True,
                    truncation=True,
                    max_length=self._most_tokens,
                    return_tensors="pt",
                )
            vectors[places] = _rows(
                self._model.get_text_features(
                    input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
                )
            )
        return vectors

    def encode_sound(self, sound: Waveform) -> Vectors:
        """(D,): the mean over windows of what the model hears at once, ten seconds mostly."""
        return mean_vector(self._windows(sound), self._hear, BATCH)

    @property
    def window_s(self) -> float:
        """What it hears at once."""
        return float(self._features.nb_max_samples / self._features.sampling_rate)

    def _windows(self, sound: Waveform) -> Iterator[Floats]:
        """Samples (T,), T at most a window, at the model's rate.

        The extractor would draw a part of a longer sound at random: another vector each time.
        A rest of less than a quarter window belongs to a long sound no more.
        """
        samples = resample(sound, self._features.sampling_rate)
        if not len(samples):
            samples = np.zeros(1, np.float32)
        length = int(self._features.nb_max_samples)
        for start in range(0, len(samples), length):
            window = samples[start : start + length]
            if start == 0 or len(window) >= length // 4:
                yield window

    @torch.inference_mode()
    def _hear(self, windows: list[Floats]) -> Vectors:
        """(N, D)."""
        found = self._features(windows, sampling_rate=self._features.sampling_rate)
        pixels = torch.from_numpy(np.stack(found["input_features"]).astype(np.float32))
        # Models with fusion want one sound of a batch marked as long, and the extractor draws
        # which. All are marked, as a sound is that is encoded alone: the batch makes no difference.
        longer = torch.ones((len(windows), 1), dtype=torch.bool)
        return _rows(self._model.get_audio_features(input_features=pixels, is_longer=longer))


class ClapAudioEncoder(Encoder):
    modality = "audio"

    def __init__(self, model: Clap) -> None:
        self.model = model
        self.space = model.space
        self.segment_s, self.hop_s = model.window_s, model.window_s / 2

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return np.stack([self.model.encode_sound(sound) for sound in batch])


class ClapTextEncoder(Encoder):
    modality = "text"

    def __init__(self, model: Clap) -> None:
        self.model = model
        self.space = model.space

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return self.model.encode_texts(batch)


def _locate(name: str) -> tuple[Path, str]:
    """The folder with all files, and where it comes from."""
    if name.startswith(hub.LOCAL):
        folder = Path(name.removeprefix(hub.LOCAL)).resolve()
        if not (folder / CONFIG).is_file():
            raise UnknownName(f"{folder} holds no {CONFIG} of a CLAP model")
        return folder, str(folder)
    required = ((CONFIG,), (FEATURES,), hub.TOKENIZER, CHECKPOINTS)
    folder = hub.fetch(name, required, hub.TOKENIZER_FILES)
    return folder, f"{name} at {hub.commit_of(folder)}"


def _load(folder: Path) -> Any:
    """The model in fp32; never one with weights drawn at random."""
    model, found = ClapModel.from_pretrained(
        folder, local_files_only=True, output_loading_info=True
    )
    missing = set(found["missing_keys"]) & {name for name, _ in model.named_parameters()}
    if missing:
        raise ModelUnavailable(
            f"{folder} holds no complete CLAP model: {len(missing)} weights are missing, "
            f"{min(missing)} among them"
        )
    return model.float()


def _fingerprint(folder: Path, checkpoint: Path) -> str:
    """Over the weights and every file that decides how sounds and texts are prepared."""
    digest = hashlib.sha256(PREPARATION.encode())
    for name in sorted({CONFIG, FEATURES, checkpoint.name, *hub.TOKENIZER_FILES}):
        path = folder / name
        if path.is_file():
            digest.update(name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _rows(features: Any) -> Vectors:
    """(N, D) of what `get_*_features` gives: a tensor, or since transformers 5 an output."""
    tensor = getattr(features, "pooler_output", features)
    rows: Vectors = tensor.float().numpy()
    return rows
