"""espeak-ng where it is installed, and what is said where it is not."""

import shutil

import numpy as np
import pytest

from encoders.base import Waveform
from generator import speech
from generator.base import Condition, Unavailable
from generator.speech import SpeechGenerator

ZERO = np.zeros(4, np.float32)
installed = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


def spoken(text: str | None, seed: int = 0) -> tuple[Waveform, str]:
    condition = Condition(ZERO, ZERO, (), np.zeros(0, np.float32), draft=text)
    made = SpeechGenerator("space").generate(condition, seed=seed, creativity=0.5)
    return made.media, made.details["text"]


@installed
def test_a_text_is_spoken_and_the_longer_one_longer() -> None:
    short, _ = spoken("a cat")
    long, text = spoken("a cat on a farm, \n and a dog beside it")
    assert text == "a cat on a farm, and a dog beside it"
    assert short.sample_rate == 22_050
    assert 0.2 < short.duration_s < long.duration_s
    assert np.abs(short.samples).max() > 0.05


@installed
def test_it_is_spoken_alike_every_time() -> None:
    first, again = spoken("a cat", seed=1)[0], spoken("a cat", seed=2)[0]
    np.testing.assert_array_equal(first.samples, again.samples)


@installed
@pytest.mark.parametrize("text", ["--version", "-f /etc/passwd", "$(reboot)", "", None, "\x00漢🐈"])
def test_odd_texts_are_no_options(text: str | None) -> None:
    sound, said = spoken(text)
    assert sound.duration_s > 0.05
    assert said == " ".join((text or "").replace("\0", " ").split())


@installed
def test_it_says_what_it_is() -> None:
    generator = SpeechGenerator("space")
    assert generator.name.startswith("espeak-ng 1.")
    assert "en-us" in generator.fingerprint
    assert not generator.draws


def test_without_the_program_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match="apt-get install espeak-ng"):
        SpeechGenerator("space")
