"""Damage to inputs, of a given strength; 0 changes nothing. Every function is of its `random`."""

from __future__ import annotations

import string

import numpy as np
from PIL import Image

from encoders.base import Waveform
from encoders.picture import on_white

LETTERS = string.ascii_lowercase


def gaussian(picture: Image.Image, sigma: float, random: np.random.Generator) -> Image.Image:
    """Normal noise of `sigma` on each value of the picture on white, values being in [0, 1]."""
    values = np.asarray(on_white(picture), np.float32) / 255
    noised = values + sigma * random.standard_normal(values.shape, np.float32)
    return Image.fromarray(np.round(np.clip(noised, 0, 1) * 255).astype(np.uint8))


def salt_and_pepper(picture: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    """A share of the pixels turned black or white, each with even odds."""
    values = np.array(on_white(picture))
    hit = random.random(values.shape[:2]) < share
    values[hit] = 255 * random.integers(2, size=(int(hit.sum()), 1), dtype=np.uint8)
    return Image.fromarray(values)


def white_noise(sound: Waveform, relative: float, random: np.random.Generator) -> Waveform:
    """Normal noise of `relative` times the sound's root mean square: an SNR of -20 log10(relative)
    dB."""
    level = (
        float(np.sqrt(np.square(sound.samples, dtype=np.float64).mean()))
        if len(sound.samples)
        else 0.0
    )
    noise = random.standard_normal(len(sound.samples), np.float32) * np.float32(relative * level)
    return Waveform(sound.samples + noise, sound.sample_rate)


def typing_errors(text: str, share: float, random: np.random.Generator) -> str:
    """A share of the characters left out, doubled, or replaced by a letter."""
    made = []
    for character in text:
        if random.random() >= share:
            made.append(character)
            continue
        kind = random.integers(3)
        other = LETTERS[random.integers(len(LETTERS))]
        made.append(("", character * 2, other)[kind])
    return "".join(made).strip() or text
