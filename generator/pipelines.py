"""Pipelines of diffusers, from a hub or a folder, as generators: found, loaded, hashed.

A pipeline is a folder with `model_index.json` and a folder per component. Weights are read from
safetensors only. Knows nothing about what a pipeline makes; imports torch and diffusers.
"""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch

import encoders.torchvision_import  # noqa: F401 - before diffusers

from diffusers import DiffusionPipeline  # isort: skip

from encoders import hub
from encoders.base import Space
from encoders.checkpoints import LOADING_ERRORS
from encoders.errors import ModelUnavailable, UnknownName
from generator.base import Generator

STEPS = 20  # of diffusion

P = TypeVar("P", bound=DiffusionPipeline)


class PipelineGenerator(Generator, Generic[P]):
    """Safe for use from several threads: one thing is made at a time."""

    pipeline_class: ClassVar[type[Any]]
    kind: ClassVar[str]  # before the colon of its name
    wants: ClassVar[str]  # the model that it goes with

    def __init__(
        self, pipeline: P, fingerprint: str, name: str, space: Space, steps: int = STEPS
    ) -> None:
        """Raises ModelUnavailable when the pipeline takes vectors of another dimension."""
        dimension = self.dimension_of(pipeline)
        if dimension != space.dimension:
            raise ModelUnavailable(
                f"{name} takes vectors of {dimension} values, {self.modality} lives in {space.id} "
                f"with {space.dimension}: start the profile openclip with the {self.wants} that it "
                "goes with"
            )
        self.name = f"{self.kind} {name}"
        self.fingerprint = fingerprint
        self.space_id = space.id
        self._pipeline = pipeline
        self._steps = steps
        self._lock = threading.Lock()  # the scheduler keeps the state of one run

    @classmethod
    def open(cls, name: str, space: Space, steps: int = STEPS) -> Self:
        """`owner/name` of the hub, or `local-dir:folder`; raises as `open_pipeline` does."""
        pipeline, fingerprint = open_pipeline(cls.pipeline_class, name)
        return cls(pipeline, fingerprint, name, space, steps)

    @staticmethod
    @abstractmethod
    def dimension_of(pipeline: Any) -> int:
        """Of the vectors that it takes."""


def open_pipeline(kind: type[P], name: str) -> tuple[P, str]:
    """Load `owner/name` of the hub, or `local-dir:folder`; returns it with its fingerprint.

    It is on the GPU if there is one (in fp16), else on the CPU, and prints no progress.
    Raises UnknownName, or ModelUnavailable when weights cannot be had or are of another kind.
    """
    folder = _locate(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    _require(kind, folder)
    try:
        pipeline = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except LOADING_ERRORS as error:
        raise ModelUnavailable(f"{name} could not be loaded from {folder}: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline = pipeline.to(device, torch.float16) if device == "cuda" else pipeline.to(device)
    return pipeline, fingerprint(folder)


def fingerprint(folder: Path) -> str:
    """sha256 over names and bytes of weights and settings: what the output depends on."""
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.safetensors")]):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def seeded(seed: int) -> torch.Generator:
    """On the CPU, so that a seed draws the same noise on every device."""
    return torch.Generator().manual_seed(seed % 2**63)


def _locate(name: str) -> Path:
    if name.startswith(hub.LOCAL):
        folder = Path(name.removeprefix(hub.LOCAL)).resolve()
        if not (folder / hub.PIPELINE).is_file():
            raise UnknownName(f"{folder} holds no {hub.PIPELINE} of a pipeline")
        return folder
    return hub.fetch_pipeline(name)


def _require(kind: type[Any], folder: Path) -> None:
    found = hub.pipeline_index(folder).get("_class_name")
    if found != kind.__name__:
        raise ModelUnavailable(f"{folder} is a pipeline {found!r}, {kind.__name__} is needed")
