"""What the demonstration asks. Written for the sample; for another folder it picks its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memory_service.importer import Bundle

TEXTS = (
    "a cat",
    "a bird singing",
    "something that flies",
    "playing music",
    "a wild animal from Africa",
)
PICTURES = (
    "animals/birds/owl",
    "hobbies/music/string/violin",
    "animals/mammals/dogs/fox",
    "food/fruit/Cherry_Stella",
)
SOUNDS = (
    "animals/birds/rooster",
    "seasonal/halloween/blackcat",
    "animals/mammals/dogs/dog",
    "animals/mammals/bovines/cow",
    "hobbies/music/percussion/drumkit",
    "animals/mammals/dogs/fox",
    "animals/mammals/aquatic/whale",
)
# Said in a voice that the models were never trained on; each is in the sample as a picture.
SPOKEN = ("tiger", "guitar", "balloon", "scissors", "penguin")
FORGET = (
    "animals/birds/rooster",
    "hobbies/music/string/violin",
    "animals/mammals/bovines/sheep_lamb",
    "animals/mammals/dogs/fox",
)
GENERATE = (
    ("a bird singing", "animals/birds/rooster"),
    ("a red apple", "food/fruit/apple_red"),
    ("the sound of a drum", "hobbies/music/percussion/drumkit"),
)
CREATIVITY = (0.0, 0.25, 0.5, 1.0)  # at 0 it is a recall
SWAP = ("a bird", "a red apple", "a guitar")
SWAP_CREATIVITY = (0.25, 0.5)
SEED = 7


@dataclass(frozen=True)
class Plan:
    texts: tuple[str, ...]
    pictures: tuple[Bundle, ...]
    sounds: tuple[Bundle, ...]
    spoken: tuple[str, ...]
    forget: tuple[Bundle, ...]
    generate: tuple[tuple[str, Bundle], ...]
    swap: tuple[str, ...]


def plan(bundles: Sequence[Bundle]) -> Plan:
    """Choose the questions for these bundles. Raises ValueError when a modality is missing."""
    by_path = {bundle.path: bundle for bundle in bundles}

    def wanted(paths: Sequence[str], modality: str) -> tuple[Bundle, ...]:
        suited = [bundle for bundle in bundles if getattr(bundle, modality)]
        if not suited:
            raise ValueError(f"the samples have no {modality}: all three modalities are needed")
        named = [by_path[path] for path in paths if path in by_path]
        return tuple(named or suited[:: max(1, len(suited) // len(paths))][: len(paths)])

    texts, pictures = zip(*GENERATE, strict=True)
    return Plan(
        texts=TEXTS,
        pictures=wanted(PICTURES, "image"),
        sounds=wanted(SOUNDS, "audio"),
        spoken=SPOKEN,
        forget=wanted(FORGET, "audio")[: len(bundles) // 2],  # something must be left
        generate=tuple(zip(texts, wanted(pictures, "image"), strict=False)),
        swap=SWAP,
    )
