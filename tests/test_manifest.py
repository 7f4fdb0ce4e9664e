"""Manifests in PNG and WAV files: other programmes read the media, we read the manifest."""

import io
import wave
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from PIL import Image

from encoders.base import Waveform
from memory_service import manifest
from memory_service.records import Generation, GenerationOutput, MemoryShare
from memory_service.services.rendering import render

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8))
SOUND = Waveform(np.linspace(-0.5, 0.5, 401, dtype=np.float32), 16_000)
MEDIA = {"image": PICTURE, "audio": SOUND}
SHARES = tuple(MemoryShare(f"m{n}", f"e{n}", "text", 0.5, 0.9) for n in range(2))
OUTPUT = GenerationOutput(
    "o1", "image", "image/png", "", 0, None, "painter", "f00", 0.5, "m0", seed=8
)
RECORD = Generation(
    "g1", "default", 1.5, 7, 0.3, "sum", "s", "f11", np.ones(3, np.float32), SHARES, (), {}
)
SAYS = manifest.of(RECORD, OUTPUT)


@pytest.mark.parametrize("modality", MEDIA)
def test_what_is_written_is_read(modality: str) -> None:
    _, content = render(modality, MEDIA[modality], SAYS)
    assert manifest.read(content) == SAYS
    assert SAYS["seed"] == 8
    assert SAYS["generated"] is True
    assert [each["weight"] for each in SAYS["memories"]] == [0.5, 0.5]
    assert render(modality, MEDIA[modality], SAYS)[1] == content


@pytest.mark.parametrize("modality", MEDIA)
def test_without_a_manifest_there_is_none(modality: str) -> None:
    assert manifest.read(render(modality, MEDIA[modality])[1]) is None


def test_a_picture_is_the_same_with_and_without() -> None:
    content = render("image", PICTURE, SAYS)[1]
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(opened, PICTURE)
        assert opened.info["Description"] == manifest.STATEMENT
        xmp = ElementTree.fromstring(opened.info["XML:com.adobe.xmp"])
    (description,) = xmp.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert description.attrib[name] == SAYS["source_type"]


def test_a_generator_that_was_not_trained_says_so() -> None:
    assert SAYS["source_type"].endswith("/trainedAlgorithmicMedia")
    spoken = replace(OUTPUT, modality="audio", details={"source_type": "algorithmicMedia"})
    says = manifest.of(RECORD, spoken)
    assert says["source_type"].endswith("/digitalsourcetype/algorithmicMedia")
    content = render("audio", SOUND, says)[1]
    assert b"/algorithmicMedia" in content
    assert b"trainedAlgorithmicMedia" not in content


def test_a_sound_is_the_same_with_and_without() -> None:
    content, bare = render("audio", SOUND, SAYS)[1], render("audio", SOUND)[1]
    with_it, rate = soundfile.read(io.BytesIO(content))
    without, _ = soundfile.read(io.BytesIO(bare))
    assert rate == 16_000
    np.testing.assert_array_equal(with_it, without)
    with wave.open(io.BytesIO(content)) as file:
        assert file.getnframes() == 401
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert file.copy_metadata() == {
            "comment": manifest.STATEMENT,
            "software": manifest.SOFTWARE,
        }
    assert int.from_bytes(content[4:8], "little") == len(content) - 8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"RIFF\x00\x00\x00\x00WAVEsmim\xff\xff\xff\xff{",
        b"RIFF\x00\x00\x00\x00WAVEsmim\x02\x00\x00\x00[]",
        b"\x89PNG\r\n\x1a\nbroken",
        render("image", PICTURE, SAYS)[1][:60],
        b"just a text",
    ],
)
def test_what_is_broken_has_no_manifest(content: bytes) -> None:
    assert manifest.read(content) is None
