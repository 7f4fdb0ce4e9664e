"""Words spoken by espeak-ng: the names of the pictures' concepts, in several voices."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from encoders.training.data import stamps
from encoders.training.data.drafts import Draft
from encoders.training.data.media import save_sound
from encoders.training.data.packages import npm_folder
from encoders.training.data.records import concept_of

SOURCE = "speech"
LICENCE = "GPL-3.0-or-later synthesiser, output free"
WORDS = 1200
VOICES_PER_WORD = 3
# The last two are never trained on: `is_test_voice` says so.
VOICES = (
    "en-us",
    "en-gb",
    "en-us+f3",
    "en-gb+m3",
    "en-us+f4",
    "en-gb-scotland",
    "en-us+m7",
    "en-gb+f5",
)
TEST_VOICES = VOICES[-2:]


def is_test_voice(voice: str) -> bool:
    return voice in TEST_VOICES


def words(cache: Path) -> list[str]:
    """Short names of stamps and emoji, stamps first, each concept once."""
    import json

    names = json.loads((npm_folder("emojibase-data", cache) / "en/data.json").read_text("utf-8"))
    labels = [stamp.caption for stamp in stamps.stamps(cache)]
    labels += [entry["label"] for entry in names if "group" in entry and entry["group"] != 9]
    concepts = dict.fromkeys(concept_of(label) for label in labels)
    return [concept for concept in concepts if len(concept.split()) <= 2][:WORDS]


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    for word in words(cache):
        start = hashlib.sha256(word.encode()).digest()[0]
        for number in range(VOICES_PER_WORD):
            voice = VOICES[(start + 3 * number) % len(VOICES)]
            path = f"{SOURCE}/{voice}/{word.replace(' ', '-')}.flac"
            if (out / path).exists() or _spoken(word, voice, out / path):
                yield Draft(
                    path=path,
                    source=SOURCE,
                    style=voice,
                    modality="audio",
                    caption=word,
                    tags=("spoken word",),
                    episode=path,
                    licence=LICENCE,
                )


def _spoken(word: str, voice: str, target: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "word.wav"
        command = ["espeak-ng", "-v", voice, "-w", str(sound), "--", word]
        subprocess.run(command, check=True, capture_output=True)
        return save_sound(sound, target)
