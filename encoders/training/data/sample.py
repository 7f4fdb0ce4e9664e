"""Writes the committed sample: a few stamps in the layout of `memory-service import`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import soundfile
import soxr

from encoders.training.data.media import open_picture, save_picture
from encoders.training.data.records import concept_of, split_of
from encoders.training.data.stamps import Stamp, stamps

PICTURE_SIDE_PX = 224
SOUND_RATE = 22_050
SOUND_S = 5.0
SILENT_PER_FOLDER = 1
# Letters, signs and dreidels say their text in other languages or say nothing of what they show.
NOT_SAMPLED = ("symbols/", "town/roadsigns", "seasonal/hanukkah", "military/", "medical/")
# More of these kinds than of others: people ask a memory for animals, food and vehicles.
SILENT_MORE = {"animals": 2, "food": 4, "space": 2, "plants": 3, "hobbies": 4}


def chosen(cache: Path) -> list[Stamp]:
    """All with a sound of their own, then the first few silent ones of each folder."""
    picked: list[Stamp] = []
    taken: dict[str, int] = {}
    concepts: set[str] = set()
    # Sounding stamps first, so that a silent one never takes the concept of a sounding one.
    for stamp in sorted(stamps(cache), key=lambda stamp: (not is_audible(stamp.effect), stamp.key)):
        concept = concept_of(stamp.caption)
        if stamp.key.startswith(NOT_SAMPLED) or concept in concepts or len(stamp.caption) > 60:
            continue
        kind, folder = stamp.key.split("/")[0], stamp.key.rpartition("/")[0]
        if not is_audible(stamp.effect):
            if taken.get(folder, 0) >= SILENT_MORE.get(kind, SILENT_PER_FOLDER):
                continue
            taken[folder] = taken.get(folder, 0) + 1
        concepts.add(concept)
        picked.append(stamp)
    return picked


def write_sample(out: Path, cache: Path, seed: int) -> int:
    """Write pictures, texts, sounds and splits.json below `out`; returns the number of stamps."""
    splits = {}
    for stamp in chosen(cache):
        target = out / stamp.key
        save_picture(open_picture(stamp.picture), target.with_suffix(".png"), PICTURE_SIDE_PX)
        target.with_suffix(".txt").write_text(stamp.caption + "\n", encoding="utf-8")
        if stamp.effect is not None and is_audible(stamp.effect):
            _write_sound(stamp.effect, target.with_suffix(".ogg"))
        splits[stamp.key] = split_of(concept_of(stamp.caption), seed)
    (out / "splits.json").write_text(json.dumps(splits, indent=1, sort_keys=True) + "\n")
    licence = Path("/usr/share/common-licenses/GPL-2")
    if licence.exists():
        shutil.copyfile(licence, out / "LICENSE")
    return len(splits)


def is_audible(sound: Path | None) -> bool:
    """Some of the stamps' effects are files of silence."""
    if sound is None:
        return False
    samples, _ = soundfile.read(sound, dtype="float32")
    return float(np.abs(samples).max(initial=0.0)) > 0.01


def _write_sound(source: Path, target: Path) -> None:
    samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, SOUND_RATE)[: int(SOUND_S * SOUND_RATE)]
    soundfile.write(target, np.clip(mono, -1, 1), SOUND_RATE, format="OGG", subtype="VORBIS")
