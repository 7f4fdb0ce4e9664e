"""Words said by people: KTuberling's English names of things, and Asterisk's spoken prompts.

The stamps' spoken descriptions, the only other people of the collection, are for tests; these are
other speakers, so that the test stays one of new voices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from encoders.training.data.drafts import Draft
from encoders.training.data.media import save_sound
from encoders.training.data.packages import debian_path

SOURCE = "people"
KTUBERLING = "/usr/share/ktuberling/sounds/en"
ASTERISK = "/usr/share/asterisk/sounds/en_US_f_Allison"
SCENES = re.compile(r"^(?:egypt|tv|moon|pizzeria)_")
# Of KTuberling's file names, those that are not the words said.
WORDS = {
    "broccolli": "broccoli",
    "fallingstar": "falling star",
    "moonwalker": "moon walker",
    "palmtree": "palm tree",
    "sphynx": "sphinx",
    "ufo": "UFO",
}
PROMPTS = (
    "activated", "added", "calling", "cancelled", "disabled", "enabled", "extension", "goodbye",
    "hello", "hello-world", "hours", "invalid", "location", "lowercase", "minute", "minutes",
    "number", "removed", "second", "seconds", "telephone-number", "time", "transfer", "uppercase",
)  # fmt: skip
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
MORE_DIGITS = ("billion", "hundred", "million", "star", "thousand", "today", "tomorrow",
               "yesterday")  # fmt: skip


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    for path, speaker, said, licence in (*_ktuberling(cache), *_asterisk(cache)):
        target = f"{SOURCE}/{speaker}/{path.stem}.flac"
        if not (out / target).exists() and not save_sound(path, out / target):
            continue
        yield Draft(
            path=target,
            source=SOURCE,
            style=speaker,
            modality="audio",
            caption=said,
            tags=("spoken word",),
            episode=target,
            licence=licence,
        )


def _ktuberling(cache: Path) -> Iterator[tuple[Path, str, str, str]]:
    """(file, speaker, what is said, licence)."""
    for path in sorted(debian_path("ktuberling-data", KTUBERLING, cache).glob("*.ogg")):
        name = SCENES.sub("", path.stem)
        yield path, "ktuberling", WORDS.get(name, name.replace("_", " ")), "GPL-2.0-or-later"


def _asterisk(cache: Path) -> Iterator[tuple[Path, str, str, str]]:
    folder = debian_path("asterisk-core-sounds-en-wav", ASTERISK, cache)
    said = {name: name.replace("-", " ") for name in PROMPTS}
    said |= {f"digits/day-{number}": day for number, day in enumerate(DAYS)}
    said |= {f"digits/mon-{number}": month for number, month in enumerate(MONTHS)}
    said |= {f"digits/{number}": word for number, word in enumerate(NUMBERS)}
    said |= {f"digits/{10 * number}": word for number, word in enumerate(TENS, start=2)}
    said |= {f"digits/{word}": word for word in MORE_DIGITS}
    for name, words in said.items():
        path = folder / f"{name}.wav"
        if path.exists():
            yield path, "asterisk", words, "CC-BY-SA-3.0"
