"""Which generators exist for which encoder profile. Loads weights at first use, not before."""

from __future__ import annotations

import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from encoders.base import Encoder, Modality, Space
from generator.answers import AnswerGenerator
from generator.base import Generator
from generator.fake import fake_generators
from generator.speech import SpeechGenerator
from generator.tags import TagGenerator, load_vocabulary, small_vocabulary
from generator.weight_files import FILES, NAMES, fingerprint

WEIGHTS = Path(__file__).parent / "weights"

# modality: (module, class) of the bundled generators
BUNDLED: dict[Modality, tuple[str, str]] = {
    "image": ("generator.image", "PictureGenerator"),
    "text": ("generator.text", "TextGenerator"),
    "audio": ("generator.audio", "SoundGenerator"),
}


# What the generators by modality do, where other ways to make the same modality have names, too.
DEFAULT_MODES: Mapping[Modality, str] = {"text": "caption", "audio": "sound"}


class WrongSpace(ValueError):
    """The generator was trained on vectors of another space."""


class LazyGenerators(Mapping[Modality, Generator]):
    """The bundled generators; torch is imported and weights are read when one is first taken."""

    def __init__(
        self,
        space: Space,
        weights_dir: Path = WEIGHTS,
        threads: int = 1,
        runtime: str = "openvino",
    ) -> None:
        self._space = space
        self._weights_dir = weights_dir
        self._threads = threads
        self._runtime = runtime
        self._loaded: dict[Modality, Generator] = {}
        self._lock = Lock()  # two requests must not load the same weights twice

    def __getitem__(self, modality: Modality) -> Generator:
        with self._lock:
            if modality not in self._loaded:
                module, name = BUNDLED[modality]
                generator_class = getattr(import_module(module), name)
                limit_torch_threads(self._threads)
                given: dict[str, Any] = (
                    {"runtime": self._runtime, "threads": self._threads}
                    if generator_class.latent
                    else {}
                )
                generator: Generator = generator_class(self._weights_dir, **given)
                if generator.space_id != self._space.id:
                    raise WrongSpace(
                        f"{generator.name} was trained on space {generator.space_id!r}, "
                        f"the active space is {self._space.id!r}"
                    )
                self._loaded[modality] = generator
            return self._loaded[modality]

    def identity(self, modality: Modality) -> tuple[str, str]:
        """Name and fingerprint, without loading it."""
        return NAMES[modality], _fingerprint(self._weights_dir, modality)

    def __contains__(self, modality: object) -> bool:
        return modality in BUNDLED  # a Mapping's own would load it

    def __iter__(self) -> Iterator[Modality]:
        return iter(BUNDLED)

    def __len__(self) -> int:
        return len(BUNDLED)


@cache
def _fingerprint(weights_dir: Path, modality: Modality) -> str:
    return fingerprint(*(weights_dir / name for name in FILES[modality]))


def identity(generators: Mapping[Modality, Generator], modality: Modality) -> tuple[str, str]:
    """Name and fingerprint of one of them; bundled weights are not loaded for it."""
    parts = generators.maps if isinstance(generators, ChainMap) else [generators]
    part = next(each for each in parts if modality in each)
    if isinstance(part, LazyGenerators):
        return part.identity(modality)
    return part[modality].name, part[modality].fingerprint


def limit_torch_threads(threads: int) -> None:
    """Several requests compute at once: torch, if it is loaded, would give each all the cores."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def load_weights(folder: Path, space: Space, threads: int = 1) -> Mapping[Modality, Generator]:
    """Generators of the bundled classes from another folder of weights, those that it has; read at
    once. Raises ValueError where it has none, or of another space or shape."""
    lazy = LazyGenerators(space, folder, threads)
    found = {m: lazy[m] for m in BUNDLED if (folder / f"{m}.json").is_file()}
    if not found:
        names = ", ".join(f"{modality}.json" for modality in BUNDLED)
        raise ValueError(f"there is none of {names} in it")
    return found


class LazyModes(Mapping[str, Generator]):
    """Generators by the name of their mode, each made when it is first taken."""

    def __init__(self, factories: Mapping[str, Callable[[], Generator]]) -> None:
        self._factories = factories
        self._made: dict[str, Generator] = {}
        self._lock = Lock()

    def __getitem__(self, mode: str) -> Generator:
        """Raises KeyError for an unknown one, Unavailable for one that lacks something here."""
        with self._lock:
            if mode not in self._made:
                self._made[mode] = self._factories[mode]()
            return self._made[mode]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)


def load_modes(
    profile_name: str, space: Space, texts: Encoder | None
) -> Mapping[Modality, Mapping[str, Generator]]:
    """By modality, the ways to make it besides `load_generators`'. `texts` encodes into `space`."""
    if profile_name not in ("bundled", "fake"):
        return {}
    modes: dict[Modality, Mapping[str, Generator]] = {
        "audio": LazyModes({"speech": partial(SpeechGenerator, space.id)})
    }
    if texts is not None:
        modes["text"] = LazyModes(
            {
                "answer": partial(AnswerGenerator, texts),
                "tags": partial(_tags, profile_name, texts),
            }
        )
    return modes


def _tags(profile_name: str, texts: Encoder) -> Generator:
    if profile_name == "bundled":
        return TagGenerator(texts, load_vocabulary(WEIGHTS))
    return TagGenerator(texts, small_vocabulary(texts))


def load_generators(
    profile_name: str, space: Space, threads: int = 1, runtime: str = "openvino"
) -> Mapping[Modality, Generator]:
    """Generators by modality; empty for a profile that has none. `threads`: numeric ones, of each
    call; `runtime`: openvino, where there are graphs of the networks, or torch."""
    match profile_name:
        case "bundled":
            return LazyGenerators(space, threads=threads, runtime=runtime)
        case "fake":
            return fake_generators(space.id)
        case _:
            return {}
