"""Words as sounds: by espeak-ng where it is installed, else as it spoke them for the sample."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

VOICE = "en-us+m7"  # one that the bundled models were never trained on


def speak(word: str, recorded: Path) -> bytes | None:
    """The word as WAV, or the FLAC `recorded`/<word>.flac; None where there is neither."""
    program = shutil.which("espeak-ng")
    if program:
        command = [program, "--stdout", "-v", VOICE, "--", word]
        done = subprocess.run(command, capture_output=True, timeout=30)
        if done.returncode == 0 and done.stdout:
            return done.stdout
    path = recorded / f"{word}.flac"
    return path.read_bytes() if path.is_file() else None
