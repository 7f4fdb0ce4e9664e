"""Generators by profile, loaded late."""

import subprocess
import sys
from collections import ChainMap

import numpy as np
import pytest

from encoders.base import Space, normalize
from generator.base import Condition, Neighbour
from generator.registry import BUNDLED as CLASSES
from generator.registry import LazyGenerators, WrongSpace, identity, load_generators

BUNDLED = Space("bundled", 384, "any")


def condition(*texts: str) -> Condition:
    vectors = normalize(np.random.default_rng(0).standard_normal((len(texts) + 1, 384)))
    neighbours = tuple(
        Neighbour(str(number), "text", vectors[number], text) for number, text in enumerate(texts)
    )
    weights = np.full(len(texts), 1 / max(1, len(texts)), np.float32)
    return Condition(vectors[-1], vectors[-1], neighbours, weights)


def test_torch_is_not_imported_before_a_generator_is_taken() -> None:
    code = (
        "import sys; from encoders.base import Space;"
        "from generator.registry import load_generators;"
        "found = load_generators('bundled', Space('bundled', 384, 'x'));"
        "assert set(found) == {'image', 'text', 'audio'}; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_bundled_generator_serves_its_modality_and_space() -> None:
    for modality, generator in load_generators("bundled", BUNDLED).items():
        assert generator.modality == modality
        assert generator.space_id == "bundled"
        assert len(generator.fingerprint) == 64


def test_a_generator_of_another_space_is_refused() -> None:
    with pytest.raises(WrongSpace, match="active space is 'other'"):
        LazyGenerators(Space("other", 384, "x"))["image"]


def test_a_profile_without_generators_has_none() -> None:
    assert load_generators("openclip", Space("openclip/x", 512, "x")) == {}


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
def test_fake_generators_depend_on_seed_and_condition(modality: str) -> None:
    generator = load_generators("fake", Space("fake", 384, "x"))[modality]  # type: ignore[index]

    def made(condition: Condition, seed: int) -> object:
        media = generator.generate(condition, seed=seed, creativity=0.5).media
        if modality == "image":
            return media.tobytes()
        return media.samples.tobytes() if modality == "audio" else media

    first = condition("a cat")
    assert made(first, 1) == made(first, 1)
    assert made(first, 1) != made(first, 2)
    assert made(first, 1) != made(condition("a cat", "a dog"), 1)


def test_a_generator_is_named_without_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_generators("bundled", BUNDLED)
    wanted = {name: (each.name, each.fingerprint) for name, each in loaded.items()}
    unloaded = load_generators("bundled", BUNDLED)
    monkeypatch.delattr(LazyGenerators, "__getitem__")
    assert {name: identity(unloaded, name) for name in CLASSES} == wanted
    fake = load_generators("fake", Space("fake", 384, "x"))
    assert identity(ChainMap({"image": fake["text"]}, fake), "image")[0] == "fake-text"  # type: ignore[dict-item]
    assert identity(fake, "audio") == (fake["audio"].name, fake["audio"].fingerprint)
