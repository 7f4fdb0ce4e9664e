"""The programs of others that the sources call, and the Debian packages that have them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

# By what they need: the name of a program, or the folder of a festival voice.
PACKAGE_OF = {
    "apt-get": "apt",
    "dpkg": "dpkg",
    "npm": "npm",
    "rsvg-convert": "librsvg2-bin",
    "fluidsynth": "fluidsynth",
    "espeak-ng": "espeak-ng",
    "flite": "flite",
    "festival": "festival",
    "/usr/share/festival/voices/english/ked_diphone": "festvox-kdlpc16k",
    "/usr/share/festival/voices/us/cmu_us_slt_arctic_hts": "festvox-us-slt-hts",
}
_PACKAGES = ("apt-get", "dpkg")
_VOICES = tuple(name for name in PACKAGE_OF if name.startswith("/"))
NEEDED = {
    "stamps": (*_PACKAGES, "rsvg-convert"),
    "emoji": ("npm", "rsvg-convert"),
    "openclipart": _PACKAGES,
    "icons": (*_PACKAGES, "npm", "rsvg-convert"),
    "gcompris": _PACKAGES,
    "sonic-pi": _PACKAGES,
    "midi": (*_PACKAGES, "fluidsynth"),
    "speech": (*_PACKAGES, "npm", "espeak-ng", "flite", "festival", *_VOICES),
    "people": _PACKAGES,
}


class ProgramsMissing(Exception):
    """Says which, and how to install them."""


def check(sources: Iterable[str]) -> None:
    """Raises ProgramsMissing when a program that one of the sources needs is not here."""
    needed = dict.fromkeys(program for source in sources for program in NEEDED[source])
    missing = [program for program in needed if not _is_here(program)]
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGE_OF[program] for program in missing))
        raise ProgramsMissing(
            f"the collection needs {', '.join(missing)}: apt-get install {packages}"
        )


def _is_here(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else bool(shutil.which(program))
