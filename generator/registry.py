"""Which generators exist for which encoder profile. Loads weights at first use, not before."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from threading import Lock

from encoders.base import Modality, Space
from generator.base import Generator
from generator.fake import fake_generators

WEIGHTS = Path(__file__).parent / "weights"

# modality: (module, class) of the bundled generators
BUNDLED: dict[Modality, tuple[str, str]] = {
    "image": ("generator.image", "PictureGenerator"),
    "text": ("generator.text", "TextGenerator"),
    "audio": ("generator.audio", "SoundGenerator"),
}


class WrongSpace(ValueError):
    """The generator was trained on vectors of another space."""


class LazyGenerators(Mapping[Modality, Generator]):
    """The bundled generators; torch is imported and weights are read when one is first taken."""

    def __init__(self, space: Space, weights_dir: Path = WEIGHTS, threads: int = 1) -> None:
        self._space = space
        self._weights_dir = weights_dir
        self._threads = threads
        self._loaded: dict[Modality, Generator] = {}
        self._lock = Lock()  # two requests must not load the same weights twice

    def __getitem__(self, modality: Modality) -> Generator:
        with self._lock:
            if modality not in self._loaded:
                module, name = BUNDLED[modality]
                generator_class = getattr(import_module(module), name)
                limit_torch_threads(self._threads)
                generator: Generator = generator_class(self._weights_dir)
                if generator.space_id != self._space.id:
                    raise WrongSpace(
                        f"{generator.name} was trained on space {generator.space_id!r}, "
                        f"the active space is {self._space.id!r}"
                    )
                self._loaded[modality] = generator
            return self._loaded[modality]

    def __iter__(self) -> Iterator[Modality]:
        return iter(BUNDLED)

    def __len__(self) -> int:
        return len(BUNDLED)


def limit_torch_threads(threads: int) -> None:
    """Several requests compute at once: torch, if it is loaded, would give each all the cores."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def load_generators(
    profile_name: str, space: Space, threads: int = 1
) -> Mapping[Modality, Generator]:
    """Generators by modality; empty for a profile that has none. `threads`: torch's, per call."""
    match profile_name:
        case "bundled":
            return LazyGenerators(space, threads=threads)
        case "fake":
            return fake_generators(space.id)
        case _:
            return {}
