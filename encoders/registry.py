"""Profiles by name: which encoders work together, and how their cosines are to be read.

Importing this module imports no model library: a profile's own modules are imported when it is
loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from encoders.base import Encoder, Modality, Weights
from encoders.calibration import Calibration, Logistic
from encoders.errors import UnknownName
from encoders.modalities import completed

__all__ = ["Profile", "UnknownName", "load_profile", "profile_names"]

# For models that were trained like CLIP, whose cosines across modalities are small: LAION took a
# pair of picture and text from 0.28 to belong together (Schuhmann et al. 2022). The rest are round
# figures of the same kind, none of them fitted: within a modality, even strangers have about 0.6.
_WITHIN, _PICTURES, _SOUNDS = Logistic(15.0, -11.25), Logistic(25.0, -6.25), Logistic(12.0, -3.0)
CONTRASTIVE = Calibration(
    {
        **{(modality, modality): _WITHIN for modality in ("image", "text", "audio")},
        ("text", "image"): _PICTURES,
        ("image", "text"): _PICTURES,
        ("text", "audio"): _SOUNDS,
        ("audio", "text"): _SOUNDS,
    }
)


@dataclass(frozen=True)
class Profile:
    """Encoders by modality. A modality that is missing cannot be searched by content.

    `further` are for modalities that live in more spaces than that of their encoder in `encoders`.
    """

    name: str
    encoders: Mapping[Modality, Encoder]
    calibration: Calibration = field(default_factory=Calibration)
    further: tuple[Encoder, ...] = ()
    weights: tuple[Weights, ...] = ()


def load_profile(name: str, **options: str) -> Profile:
    """Load the encoders of a profile, with those that further modalities make from them.

    Options of `bundled`: `runtime`, openvino or torch; `threads`, numeric threads of each call.
    Options of `openclip`: `model`, an OpenCLIP model name, `hf-hub:owner/name` or
    `local-dir:folder`; `pretrained`, a tag of that model or a local checkpoint; `clap`, for
    sounds, the hub's `owner/name` of a CLAP model, or `local-dir:folder`, or `none`.
    Raises UnknownName for another name, ValueError for an option that the profile does not take.
    """
    if name not in _LOADERS:
        raise UnknownName(f"no profile {name!r}; there are: {', '.join(sorted(_LOADERS))}")
    loader, accepted = _LOADERS[name]
    if unknown := set(options) - accepted:
        raise ValueError(f"profile {name!r} takes no {', '.join(sorted(unknown))}")
    profile = loader(**options)
    return replace(profile, encoders=completed(profile.encoders))


def profile_names() -> tuple[str, ...]:
    return tuple(sorted(_LOADERS))


def _fake() -> Profile:
    from encoders.fake import FakeAudioEncoder, FakeImageEncoder, FakeTextEncoder

    encoders: tuple[Encoder, ...] = (FakeImageEncoder(), FakeTextEncoder(), FakeAudioEncoder())
    return Profile("fake", {encoder.modality: encoder for encoder in encoders})


def _bundled(runtime: str = "openvino", threads: str = "1") -> Profile:
    from encoders.bundled import FOLDER, load
    from encoders.checkpoints import parameters_of

    encoders, calibration = load(runtime=runtime, threads=int(threads))
    files = sorted(FOLDER.glob("*.safetensors"))
    weights = Weights(
        name="bundled",
        origin="shipped with the package",
        parameters=sum(map(parameters_of, files)),
        size_bytes=sum(path.stat().st_size for path in files),
        licence="Apache-2.0",
    )
    return Profile(
        name="bundled",
        encoders={encoder.modality: encoder for encoder in encoders},
        calibration=calibration,
        weights=(weights,),
    )


def _openclip(
    model: str = "ViT-B-32", pretrained: str = "laion2b_s34b_b79k", clap: str = "none"
) -> Profile:
    from encoders.openclip import OpenClipImageEncoder, OpenClipModel, OpenClipTextEncoder

    shared = OpenClipModel.open(model, pretrained)
    seen = Profile(
        name="openclip",
        encoders={"image": OpenClipImageEncoder(shared), "text": OpenClipTextEncoder(shared)},
        calibration=CONTRASTIVE,
        weights=(shared.weights,),
    )
    return _with_sound(seen, clap) if clap not in ("", "none") else seen


def _with_sound(profile: Profile, clap: str) -> Profile:
    """Sounds get a space of their own, in which texts live, too."""
    from encoders.clap import Clap, ClapAudioEncoder, ClapTextEncoder

    shared = Clap.open(clap)
    return replace(
        profile,
        encoders={**profile.encoders, "audio": ClapAudioEncoder(shared)},
        further=(*profile.further, ClapTextEncoder(shared)),
        weights=(*profile.weights, shared.weights),
    )


_LOADERS: Mapping[str, tuple[Callable[..., Profile], frozenset[str]]] = {
    "bundled": (_bundled, frozenset({"runtime", "threads"})),
    "fake": (_fake, frozenset()),
    "openclip": (_openclip, frozenset({"model", "pretrained", "clap"})),
}
