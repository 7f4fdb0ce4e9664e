"""Sonic Pi samples: drums, bass, electronic sounds and loops, captioned from their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from encoders.training.data.drafts import Draft
from encoders.training.data.media import save_sound
from encoders.training.data.packages import debian_path

SOURCE = "sonic-pi"
LICENCE = "CC0-1.0"
PACKAGE = "sonic-pi-samples"
FOLDER = "/usr/share/sonic-pi/samples"
MAX_SOUND_S = 5.0

GROUPS = {
    "ambi": "ambient sound",
    "bass": "bass synthesizer",
    "bd": "bass drum",
    "drum": "drum",
    "elec": "electronic sound",
    "glitch": "glitch sound",
    "guit": "guitar",
    "loop": "rhythm loop",
    "mehackit": "electronic sound",
    "misc": "sound",
    "perc": "percussion",
    "sn": "snare drum",
    "tabla": "tabla drum",
    "vinyl": "vinyl record",
}
WORDS = {
    "hi": "high",
    "lo": "low",
    "mid": "middle",
    "e": "electric",
    "em9": "minor chord",
    "filt": "filtered",
    "perc1": "percussion",
    "impact1": "impact",
    "impact2": "impact",
}


def caption_of(stem: str) -> str:
    """'drum_bass_hard' -> 'drum: bass hard'; one-letter keys and numbers say nothing to a text."""
    prefix, *rest = stem.split("_")
    words = [WORDS.get(word, word.rstrip("0123456789")) for word in rest]
    detail = " ".join(word for word in words if len(word) > 1)
    group = GROUPS.get(prefix, prefix)
    return f"{group}: {detail}" if detail else group


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    for path in sorted(debian_path(PACKAGE, FOLDER, cache).glob("*.flac")):
        target = f"{SOURCE}/{path.stem}.flac"
        if not (out / target).exists() and not save_sound(path, out / target, MAX_SOUND_S):
            continue
        caption = caption_of(path.stem)
        yield Draft(
            path=target,
            source=SOURCE,
            style="",
            modality="audio",
            caption=caption,
            tags=(GROUPS.get(path.stem.split("_")[0], "sound"),),
            episode=f"{SOURCE}/{path.stem}",
            licence=LICENCE,
        )
