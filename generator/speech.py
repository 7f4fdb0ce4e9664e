"""Texts read aloud by espeak-ng, a rule-based synthesiser: no generated sound, and no weights."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import soundfile

from encoders.base import Modality, Waveform
from generator.base import Condition, Generated, Generator, Unavailable, require_creativity

PROGRAM = "espeak-ng"
VOICE = "en-us"
MOST_CHARS = 1_000
PATIENCE_S = 30.0
SOURCE_TYPE = "algorithmicMedia"  # IPTC: made by an algorithm that no sampled data trained


class SpeechGenerator(Generator):
    """Speaks the text that was made for the same condition (`Condition.draft`)."""

    modality: ClassVar[Modality] = "audio"
    draws: ClassVar[bool] = False
    reads_draft: ClassVar[bool] = True

    def __init__(self, space_id: str) -> None:
        """Raises Unavailable where espeak-ng is not installed."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise Unavailable(
                f"speech needs {PROGRAM}, which is not installed (apt-get install {PROGRAM})"
            )
        self._program = program
        said = self._run("--version").decode(errors="replace").partition("Data at")[0]
        version = said.rpartition(":")[2].strip() or "of unknown version"
        self.name = f"{PROGRAM} {version}"
        self.fingerprint = f"{PROGRAM}:{version}:{VOICE}"
        self.space_id = space_id

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A `Waveform` at 22,050 Hz; seed and creativity are the draft's, and change nothing here.

        `details`: the text that is spoken, cut after 1,000 characters, the voice, and
        IPTC's digital source type, which is not that of trained generators.
        """
        require_creativity(creativity)
        text = " ".join((condition.draft or "").replace("\0", " ").split())[:MOST_CHARS]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            # By standard input: a text that begins with a dash is no option.
            self._run("-v", VOICE, "-w", str(path), "--stdin", said=text)
            if path.exists():
                samples, rate = soundfile.read(path, dtype="float32")
            else:  # nothing to be said
                samples, rate = np.zeros(0, np.float32), 22_050
        # What has no sound is a quarter of a second of silence, which can be stored and embedded.
        samples = np.pad(samples, (0, max(0, rate // 4 - len(samples))))
        details = {"text": text, "voice": VOICE, "source_type": SOURCE_TYPE}
        return Generated(Waveform(samples, rate), details)

    def _run(self, *options: str, said: str = "") -> bytes:
        """Raises Unavailable where espeak-ng fails."""
        try:
            done = subprocess.run(
                [self._program, *options],
                input=said.encode(errors="replace"),
                capture_output=True,
                timeout=PATIENCE_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{PROGRAM} does not work: {error}") from error
        if done.returncode:
            raise Unavailable(f"{PROGRAM} failed: {done.stderr.decode(errors='replace')[:200]}")
        return done.stdout
