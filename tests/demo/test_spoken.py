"""Words as sounds, with and without a synthesiser."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import soundfile

from memory_service.demo import plan
from memory_service.demo.spoken import speak

RECORDED = Path(__file__).parents[2] / "samples/spoken-words"


@pytest.mark.parametrize("word", plan.SPOKEN)
def test_every_word_can_be_heard_without_a_synthesiser(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    sound = speak(word, RECORDED)
    assert sound is not None
    assert 0.3 < soundfile.info(io.BytesIO(sound)).duration < 2
    assert speak("a word that nobody recorded", RECORDED) is None


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_the_synthesiser_says_any_word(tmp_path: Path) -> None:
    sound = speak("memory", tmp_path)
    assert sound is not None
    assert soundfile.info(io.BytesIO(sound)).format == "WAV"
