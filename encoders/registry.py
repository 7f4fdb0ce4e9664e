"""Profiles by name: which encoders work together, and how their cosines are to be read.

Importing this module imports no model library: a profile's own modules are imported when it is
loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from encoders.base import Encoder, Modality
from encoders.calibration import Calibration
from encoders.errors import UnknownName

__all__ = ["Profile", "UnknownName", "load_profile", "profile_names"]


@dataclass(frozen=True)
class Profile:
    """Encoders by modality. A modality that is missing cannot be searched by content."""

    name: str
    encoders: Mapping[Modality, Encoder]
    calibration: Calibration = field(default_factory=Calibration)


def load_profile(name: str, **options: str) -> Profile:
    """Load the encoders of a profile.

    Options of `bundled`: `runtime`, openvino or torch; `threads`, numeric threads of each call.
    Options of `openclip`: `model`, an OpenCLIP model name, `hf-hub:owner/name` or
    `local-dir:folder`; `pretrained`, a tag of that model or a local checkpoint.
    Raises UnknownName for another name, ValueError for an option that the profile does not take.
    """
    if name not in _LOADERS:
        raise UnknownName(f"no profile {name!r}; there are: {', '.join(sorted(_LOADERS))}")
    loader, accepted = _LOADERS[name]
    if unknown := set(options) - accepted:
        raise ValueError(f"profile {name!r} takes no {', '.join(sorted(unknown))}")
    return loader(**options)


def profile_names() -> tuple[str, ...]:
    return tuple(sorted(_LOADERS))


def _fake() -> Profile:
    from encoders.fake import FakeAudioEncoder, FakeImageEncoder, FakeTextEncoder

    encoders: tuple[Encoder, ...] = (FakeImageEncoder(), FakeTextEncoder(), FakeAudioEncoder())
    return Profile("fake", {encoder.modality: encoder for encoder in encoders})


def _bundled(runtime: str = "openvino", threads: str = "1") -> Profile:
    from encoders.bundled import load

    encoders, calibration = load(runtime=runtime, threads=int(threads))
    return Profile("bundled", {encoder.modality: encoder for encoder in encoders}, calibration)


def _openclip(model: str = "ViT-B-32", pretrained: str = "laion2b_s34b_b79k") -> Profile:
    from encoders.openclip import OpenClipImageEncoder, OpenClipModel, OpenClipTextEncoder

    shared = OpenClipModel.open(model, pretrained)
    encoders = (OpenClipImageEncoder(shared), OpenClipTextEncoder(shared))
    return Profile("openclip", {encoder.modality: encoder for encoder in encoders})


_LOADERS: Mapping[str, tuple[Callable[..., Profile], frozenset[str]]] = {
    "bundled": (_bundled, frozenset({"runtime", "threads"})),
    "fake": (_fake, frozenset()),
    "openclip": (_openclip, frozenset({"model", "pretrained"})),
}
