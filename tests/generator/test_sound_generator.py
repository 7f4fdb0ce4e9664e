"""The committed sound generator, on made-up sounds and random vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.base import Vectors, Waveform, normalize
from encoders.log_mel import SAMPLE_RATE
from generator.audio import SoundGenerator, finish, mel_window
from generator.base import Condition, Neighbour
from generator.fusion import fuse
from generator.latent_flow import draw_noise
from generator.registry import WEIGHTS

SECONDS = np.arange(SAMPLE_RATE) / SAMPLE_RATE
LOW = (0.5 * np.sin(2 * np.pi * 200 * SECONDS)).astype(np.float32)
HIGH = (0.5 * np.sin(2 * np.pi * 2000 * SECONDS)).astype(np.float32)


@pytest.fixture(scope="module")
def generator() -> SoundGenerator:
    return SoundGenerator(WEIGHTS)


def unit(seed: int) -> Vectors:
    return normalize(np.random.default_rng(seed).standard_normal(384))


def condition(*sounds: np.ndarray, rate: int = SAMPLE_RATE) -> Condition:
    rows = np.stack([unit(i + 1) for i in range(len(sounds))] or [unit(0)])[: len(sounds)]
    fused, weights = fuse(unit(0), rows, "attention")
    neighbours = tuple(
        Neighbour(f"{i}-{len(s)}", "audio", rows[i], Waveform(s, rate))
        for i, s in enumerate(sounds)
    )
    return Condition(unit(0), fused, neighbours, weights)


def centroid(sound: Waveform) -> float:
    """Mean frequency in Hz, weighted by magnitude."""
    spectrum = np.abs(np.fft.rfft(sound.samples))
    frequencies = np.fft.rfftfreq(len(sound.samples), 1 / sound.sample_rate)
    return float((spectrum * frequencies).sum() / spectrum.sum())


def test_a_remembered_sound_is_heard_again(generator: SoundGenerator) -> None:
    low, high = (generator.generate(condition(s), seed=0, creativity=0).media for s in (LOW, HIGH))
    assert centroid(high) > 2 * centroid(low)
    assert 1.0 <= low.duration_s <= 1.3
    assert low.sample_rate == SAMPLE_RATE
    assert np.abs(low.samples).max() == pytest.approx(0.9, abs=1e-3)


def test_the_memory_is_heard_while_creative(generator: SoundGenerator) -> None:
    low, high = (
        generator.generate(condition(s), seed=3, creativity=0.3).media for s in (LOW, HIGH)
    )
    assert centroid(high) > 1.5 * centroid(low)


def test_a_seed_repeats_and_seeds_differ(generator: SoundGenerator) -> None:
    first, again, other = (
        generator.generate(condition(LOW), seed=seed, creativity=0.6).media.samples
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_remembered_sounds_it_draws_one(generator: SoundGenerator) -> None:
    picture = Neighbour("p", "image", unit(5), object())
    for known in (condition(), Condition(unit(0), unit(0), (picture,), np.ones(1, np.float32))):
        made = generator.generate(known, seed=0, creativity=0.2)
        assert made.details["noise"] == 1.0
        assert made.details["read_memories"] == []
        assert np.isfinite(made.media.samples).all()


@pytest.mark.parametrize("creativity", [-0.1, 1.1, float("nan")])
def test_creativity_has_bounds(generator: SoundGenerator, creativity: float) -> None:
    with pytest.raises(ValueError, match="creativity"):
        generator.generate(condition(), seed=0, creativity=creativity)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros(0, np.float32), 16_000),
        (np.zeros(16_000, np.float32), 16_000),
        (np.ones(1, np.float32), 8_000),
        (np.full(500, np.nan, np.float32), 16_000),
        (np.tile(HIGH, 60), 44_100),
    ],
    ids=["empty", "silent", "one sample", "not a number", "long"],
)
def test_odd_sounds_are_heard(generator: SoundGenerator, samples: np.ndarray, rate: int) -> None:
    made = generator.generate(condition(samples, rate=rate), seed=0, creativity=0).media
    assert np.isfinite(made.samples).all()
    assert 1.0 <= made.duration_s <= 4.1


@pytest.mark.parametrize("creativity", [0.0, 0.3])
@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(1, 1.0, 1.3), (3, 2.9, 3.3), (9, 3.9, 4.1)]
)
def test_as_long_as_what_is_remembered(
    generator: SoundGenerator, seconds: int, least: float, most: float, creativity: float
) -> None:
    known = condition(np.tile(LOW, seconds))
    made = generator.generate(known, seed=0, creativity=creativity).media
    assert least <= made.duration_s <= most
    end = made.samples[-SAMPLE_RATE // 2 : -SAMPLE_RATE // 20]  # it sounds up to there
    assert np.abs(end).mean() > 0.1 * np.abs(made.samples[: SAMPLE_RATE // 2]).mean()
    assert centroid(made) < 1000


def test_sounds_of_several_lengths_at_once(generator: SoundGenerator) -> None:
    """As one after the other: the same noise, whatever the length."""
    known = [condition(LOW), condition(np.tile(HIGH, 4)), condition()]
    for each, made in zip(
        known, generator.generate_each(known, seeds=[3] * 3, creativity=0.4), strict=True
    ):
        alone = generator.generate(each, seed=3, creativity=0.4).media
        assert len(made.media.samples) == pytest.approx(len(alone.samples), rel=0.1)
        assert centroid(made.media) == pytest.approx(centroid(alone), rel=0.1)


def test_longer_noise_begins_like_shorter(generator: SoundGenerator) -> None:
    settings = generator.settings.flow
    short, long = (draw_noise(settings, width, 1) for width in (16, 30))
    assert long.shape[-1] == 30
    assert torch.equal(long[..., :16], short)


def test_zero_weights_count_alike(generator: SoundGenerator) -> None:
    known = condition(LOW, HIGH)
    dead = Condition(known.query, known.fused, known.neighbours, np.zeros(2, np.float32))
    assert len(generator.generate(dead, seed=0, creativity=0).media.samples) >= SAMPLE_RATE


def test_candidates_start_from_each_sound_that_matches_alike(generator: SoundGenerator) -> None:
    """In turns, also of unlike lengths; each is heard alone, as long as it is."""
    both = condition(np.tile(LOW, 3), HIGH)
    known = replace(both, weights=np.array([0.4, 0.6], np.float32))
    low, high = (each.id for each in known.neighbours)
    made = generator.candidates(known, seeds=range(3), creativity=0.3)
    assert [each.details["starts_from"] for each in made] == [high, low, high]
    assert [each.details["read_memories"] for each in made] == [[high], [low], [high]]
    assert min(centroid(made[n].media) for n in (0, 2)) > 1.5 * centroid(made[1].media)
    assert made[1].media.duration_s > 2 > made[0].media.duration_s
    again = generator.candidates(known, seeds=range(3), creativity=0.3)
    for one, same in zip(made, again, strict=True):
        assert np.array_equal(one.media.samples, same.media.samples)


def test_what_matches_best_is_heard_alone(generator: SoundGenerator) -> None:
    """However near the other one comes."""
    both = condition(LOW, HIGH)
    weighed = replace(both, weights=np.array([0.49, 0.51], np.float32))
    alone = Condition(both.query, both.fused, both.neighbours[1:], np.ones(1, np.float32))
    made, wanted = (
        generator.generate(each, seed=0, creativity=0).media.samples for each in (weighed, alone)
    )
    assert np.array_equal(made, wanted)


def test_the_window_starts_where_the_sound_does(generator: SoundGenerator) -> None:
    late = np.concatenate([np.zeros(3 * SAMPLE_RATE, np.float32), HIGH])
    mel = mel_window(Waveform(late, SAMPLE_RATE), generator.settings)
    assert mel.shape == (80, 128)
    assert mel[:, 5].max() > mel[:, -1].max() + 3


def test_finish_keeps_a_second_and_drops_the_silent_tail() -> None:
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[100] = 0.1
    kept = finish(click)
    assert len(kept) == SAMPLE_RATE
    assert kept.max() == pytest.approx(0.9)
