"""The collection's sounds as spectrograms, and what is done to them before each training step.

Augmentation works on spectrograms, where it is cheap: speed, pitch, level of bands, noise, other
sounds in the background, and masked bands and moments (SpecAugment). Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from encoders.base import Waveform
from encoders.log_mel import FLOOR, Floats, log_mel, resample
from encoders.sound_windows import MIN_FRAMES, levelled
from encoders.training.data import Item
from encoders.training.data.records import media_key
from encoders.training.data.speech import TEST_VOICES

HUMAN = "spoken"  # style of the stamps' spoken descriptions, by people whom nothing else is by
MAX_SECONDS = 10.0
SILENCE = float(np.log(FLOOR))
# Share of each source in a batch: speech is the largest, effects the smallest and most varied.
SOURCE_SHARE = {"speech": 0.56, "people": 0.04, "midi": 0.14, "sonic-pi": 0.1, "stamps": 0.16}


def is_held_out(item: Item) -> bool:
    """Never trained on, so that recall can be told for a voice that is new, and for people."""
    return item.style == HUMAN or item.style in TEST_VOICES


def read_sound(path: Path) -> Waveform:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Waveform(samples.mean(axis=1)[: int(rate * MAX_SECONDS)], rate)


def spectrograms(items: Sequence[Item], root: Path, cache: Path) -> dict[str, Floats]:
    """Item id -> log-mel (80, T), stored on disk as fp16; of a sound made anew, anew."""
    key = {item.id: media_key(item, root) for item in items}
    known: dict[str, Floats] = {}
    if cache.exists():
        with np.load(cache) as stored:
            known = {name: stored[name] for name in stored.files}
    missing = [item for item in items if key[item.id] not in known]
    for item in missing:
        spectrogram = log_mel(resample(read_sound(root / item.path)))
        known[key[item.id]] = spectrogram.astype(np.float16)
    if missing:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **known)  # type: ignore[arg-type]
    return {item.id: known[key[item.id]].astype(np.float32) for item in items}


def augmented(
    spectrogram: Floats, background: Floats, frames: int, rng: np.random.Generator
) -> Floats:
    """Levelled (80, `frames`) of a log-mel (80, T), changed as rooms and speakers may change it."""
    changed = _speed_and_pitch(spectrogram, rng)
    if rng.random() < 0.3:
        changed = _reverberant(changed, rng)
    changed = changed + _band_levels(rng)
    changed = _placed(changed, frames, rng)
    loudest = changed.max()
    if rng.random() < 0.6:  # steady noise, 10 to 50 dB below
        level = loudest - rng.uniform(1.2, 6.0)
        noise = level + rng.standard_normal(changed.shape) * 0.5 + _band_levels(rng) * 2
        changed = np.logaddexp(changed, noise)
    if rng.random() < 0.25:  # another sound, 10 to 30 dB below
        other = _placed(background, frames, rng)
        changed = np.logaddexp(changed, other - other.max() + loudest - rng.uniform(1.2, 3.5))
    scaled = levelled(np.asarray(changed, np.float32))[:, :frames]
    return _masked(scaled, rng)


def plain(spectrogram: Floats, frames: int | None = None) -> Floats:
    """Levelled, unchanged; cut or padded with silence when `frames` is given."""
    scaled = levelled(spectrogram)
    if frames is None:
        return scaled
    missing = max(0, frames - scaled.shape[1])
    return np.pad(scaled, ((0, 0), (0, missing)), constant_values=-1.0)[:, :frames]


def _speed_and_pitch(spectrogram: Floats, rng: np.random.Generator) -> Floats:
    """Time scaled by 0.8 to 1.25, bands by 0.9 to 1.1 as by longer and shorter vocal tracts
    (Jaitly and Hinton 2013) and shifted by up to 3 (about a third).
    """
    bands, length = spectrogram.shape
    times = np.linspace(0, length - 1, max(2, round(length * rng.uniform(0.8, 1.25))))
    left = np.minimum(times.astype(int), length - 1)
    right = np.minimum(left + 1, length - 1)
    share = (times - left).astype(np.float32)
    stretched = spectrogram[:, left] * (1 - share) + spectrogram[:, right] * share
    source = np.round(np.arange(bands) / rng.uniform(0.9, 1.1) - rng.integers(-3, 4)).astype(int)
    shifted = stretched[np.clip(source, 0, bands - 1)]
    shifted[(source < 0) | (source >= bands)] = SILENCE
    return np.asarray(shifted, np.float32)


def _reverberant(spectrogram: Floats, rng: np.random.Generator) -> Floats:
    """As in a room: what was heard goes on, 6 to 20 dB lower at once, and 60 dB in .2 to .8 s."""
    level = -rng.uniform(0.7, 2.3)
    decay = np.float32(6.9 / (rng.uniform(0.2, 0.8) / 0.016))  # natural log units per frame
    echo = np.full(len(spectrogram), SILENCE, np.float32)
    changed = np.empty_like(spectrogram)
    for frame in range(spectrogram.shape[1]):
        changed[:, frame] = np.logaddexp(spectrogram[:, frame], echo + level)
        echo = np.maximum(spectrogram[:, frame], echo - decay)
    return changed


def _band_levels(rng: np.random.Generator) -> Floats:
    """(80, 1): a smooth curve over the bands, as rooms and microphones have."""
    points = rng.standard_normal(6) * 0.5
    curve = np.interp(np.linspace(0, 5, 80), np.arange(6), points)
    return np.asarray(curve[:, None], np.float32)


def _placed(spectrogram: Floats, frames: int, rng: np.random.Generator) -> Floats:
    """A random stretch of `frames`, or the whole at a random place in silence."""
    spare = frames - spectrogram.shape[1]
    if spare <= 0:
        start = int(rng.integers(0, 1 - spare))
        return spectrogram[:, start : start + frames]
    before = int(rng.integers(0, spare + 1))
    padding = ((0, 0), (before, spare - before))
    return np.pad(spectrogram, padding, constant_values=SILENCE)


def _masked(scaled: Floats, rng: np.random.Generator) -> Floats:
    """SpecAugment (Park et al. 2019): up to two bands of 8 and one of 6 frames become silence.

    6 frames are .1 s: more would take whole consonants out of the short words.
    """
    scaled = scaled.copy()
    for _ in range(2):
        width, low = int(rng.integers(0, 9)), int(rng.integers(0, 72))
        scaled[low : low + width] = -1.0
    width, start = int(rng.integers(0, 7)), int(rng.integers(0, max(1, scaled.shape[1] - 6)))
    scaled[:, start : start + width] = -1.0
    return scaled


def draw(
    items_by_source: dict[str, list[Item]], count: int, rng: np.random.Generator
) -> list[Item]:
    """`count` items with the sources in their shares, with replacement."""
    sources = [source for source in SOURCE_SHARE if items_by_source.get(source)]
    shares = np.array([SOURCE_SHARE[source] for source in sources])
    chosen = rng.choice(len(sources), size=count, p=shares / shares.sum())
    drawn = []
    for index in chosen:
        members = items_by_source[sources[index]]
        drawn.append(members[int(rng.integers(len(members)))])
    return drawn


def frames_of_batch(rng: np.random.Generator) -> int:
    """One length per batch: 1 to 3.5 seconds."""
    return int(rng.choice([MIN_FRAMES, 96, 128, 160, 224], p=[0.3, 0.25, 0.2, 0.15, 0.1]))
