"""The split by concept, the manifest, the sources' captions, and the committed sample."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from PIL import Image

from encoders.training.data import (
    Item,
    concept_of,
    gcompris,
    iconify,
    icons,
    load_collection,
    midi,
    openclipart,
    sonic_pi,
    speech,
    split_of,
    stamps,
)
from encoders.training.data.build import to_item
from encoders.training.data.drafts import Draft
from encoders.training.data.media import save_picture, save_sound
from encoders.training.data.records import write_manifest

SAMPLE = Path(__file__).parents[2] / "samples/tuxpaint-stamps"


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("A cat.", "cat"),
        ("The cats!", "cat"),
        ("a black cat", "black cat"),
        ("Three apples", "apple"),
        ("glass", "glass"),
        ("A bus.", "bus"),
        ("A baby sheep (a lamb).", "baby sheep"),
        ("“No U-Turn”.", "no u turn"),
    ],
)
def test_equal_meanings_have_one_concept(text: str, concept: str) -> None:
    assert concept_of(text) == concept


def test_the_split_has_its_shares_and_depends_on_the_seed() -> None:
    concepts = [f"concept {number}" for number in range(4000)]
    splits = [split_of(concept) for concept in concepts]
    shares = {split: splits.count(split) / len(splits) for split in set(splits)}
    assert shares["train"] == pytest.approx(0.85, abs=0.02)
    assert shares["test"] == pytest.approx(0.10, abs=0.02)
    assert splits == [split_of(concept) for concept in concepts]
    assert splits != [split_of(concept, seed=1) for concept in concepts]


def draft(caption: str, source: str, **more: str) -> Draft:
    path = f"{source}/{caption}.png"
    return Draft(path, source, "", "image", caption, (), path, "CC0-1.0", **more)


def test_sources_agree_on_the_split_of_a_concept() -> None:
    items = [to_item(draft(c, s), 0) for s, c in (("stamps", "A cat."), ("emoji", "cat"))]
    assert items[0].concept == items[1].concept
    assert items[0].split == items[1].split


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    items = [to_item(draft(f"{n} étoiles", "openclipart"), 0) for n in range(3)]
    write_manifest(tmp_path, reversed(items))
    assert load_collection(tmp_path) == sorted(items, key=lambda item: item.id)
    assert isinstance(load_collection(tmp_path)[0], Item)


def test_a_missing_collection_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m encoders\.training\.data"):
        load_collection(tmp_path)


def test_stamps_are_read_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stamps/animals"
    folder.mkdir(parents=True)
    Image.new("RGBA", (400, 200), "red").save(folder / "cat.png")
    (folder / "cat.txt").write_text("A cat.\nde.utf8=Eine Katze.\n")
    (folder / "nothing.txt").write_text("No picture.\n")
    tone = 0.5 * np.sin(np.arange(44_100) / 10)
    soundfile.write(folder / "cat.wav", tone, 44_100)
    monkeypatch.setattr(stamps, "FOLDER", str(tmp_path / "stamps"))
    drafts = list(stamps.drafts(tmp_path / "out", tmp_path / "cache"))
    assert [(d.path, d.caption, d.tags) for d in drafts] == [
        ("stamps/animals/cat.png", "A cat.", ("animals",)),
        ("stamps/animals/cat.effect.flac", "A cat.", ("animals",)),
    ]
    assert drafts[0].episode == drafts[1].episode
    assert opened(tmp_path / "out" / drafts[0].path).size == (256, 128)
    info = soundfile.info(tmp_path / "out" / drafts[1].path)
    assert (info.samplerate, info.channels) == (16_000, 1)
    assert info.duration == pytest.approx(1.0, abs=0.01)


def test_silence_and_noise_of_no_format_are_left_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF and then nothing")
    for name in ("silent", "broken"):
        assert not save_sound(tmp_path / f"{name}.wav", tmp_path / "out.flac")
    assert not (tmp_path / "out.flac").exists()


def test_pictures_keep_their_alpha(tmp_path: Path) -> None:
    save_picture(Image.new("RGBA", (10, 10), (255, 0, 0, 0)), tmp_path / "a/clear.png")
    assert opened(tmp_path / "a/clear.png").getpixel((5, 5))[3] == 0


def test_captions_from_names() -> None:
    assert sonic_pi.caption_of("drum_tom_hi_hard") == "drum: tom high hard"
    assert sonic_pi.caption_of("misc_crow") == "sound: crow"
    assert openclipart.title_of(Path("animals/cat_sleeping_02.png")) == "cat sleeping"


def test_equal_pictures_share_a_mark_and_different_ones_do_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in "ab":
        pixels = random.integers(0, 255, (8, 9, 3), np.uint8)
        big = Image.fromarray(pixels).resize((90, 80), Image.Resampling.NEAREST)
        big.save(tmp_path / f"{name}.png")
        big.resize((180, 160), Image.Resampling.NEAREST).save(tmp_path / f"{name}2.png")
    marks = {path.stem: openclipart.difference_hash(path) for path in tmp_path.glob("*.png")}
    assert marks["a"] == marks["a2"]
    assert marks["b"] == marks["b2"]
    assert marks["a"] != marks["b"]


def test_midi_files_have_their_notes_in_order() -> None:
    song = midi.midi_file([(0.5, 0.5, 64), (0.0, 0.5, 60)], programme=40)
    assert song[:4] == b"MThd"
    track = song[song.index(b"MTrk") + 8 :]
    assert track.startswith(bytes([0, 0xC0, 40, 0, 0x90, 60, 100]))
    assert track.index(bytes([0x90, 64, 100])) > track.index(bytes([0x80, 60, 0]))
    assert song.endswith(b"\xff\x2f\x00")
    assert len(midi.PROGRAMMES) == 128
    assert not any(len(name) != len(name.strip()) for name in midi.PROGRAMMES)


def test_some_voices_are_for_tests_only() -> None:
    assert set(speech.TEST_VOICES) < set(speech.VOICES)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_every_voice_of_espeak_is_another(tmp_path: Path) -> None:
    """espeak-ng drops a variant that it does not know together with an accent, without a word."""
    said = {}
    for voice in (*speech.ESPEAK, *speech.MORE_ESPEAK):
        assert speech._spoken("hot dog in a new garden", voice, tmp_path / f"{voice}.flac")
        said[voice] = (tmp_path / f"{voice}.flac").read_bytes()
    assert len(set(said.values())) == len(said)


def test_a_name_is_said_by_the_recorded_speakers_and_some_others() -> None:
    said = [speech.voices_of(f"name {number}") for number in range(300)]
    assert all(len(set(voices)) == len(voices) for voices in said)
    assert all(set(speech.ALWAYS) < set(voices) for voices in said)
    assert {voice for voices in said for voice in voices} == set(speech.VOICES)


def test_independent_items_are_in_no_split_by_concept() -> None:
    draft = Draft("p.png", "gcompris", "photograph", "image", "dog", (), "p", "CC0")
    assert to_item(draft, seed=0).split == split_of("dog")
    assert to_item(replace(draft, independent=True), seed=0).split == "independent"


def test_icons_become_svg_files_of_their_own_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {
        "cat": {"body": "<path d='M0 0'/>", "width": 24},
        "gone": {"body": "<path/>", "hidden": True},
    }
    (tmp_path / "icons.json").write_text(json.dumps({"icons": entries, "height": 20}))
    monkeypatch.setattr(iconify, "npm_folder", lambda *_: tmp_path)
    files = iconify.icon_files("pets", tmp_path)
    assert list(files) == ["cat"]
    root = ElementTree.fromstring(files["cat"].read_text())
    assert root.attrib["viewBox"] == "0 0 24 20"
    assert root[0].attrib["d"] == "M0 0"


def test_icons_are_captioned_without_what_marks_variants() -> None:
    assert icons.caption_of("birthday-cake-2-flat") == "birthday cake"
    assert icons.caption_of("abstract-011") == ""


def test_files_of_a_resource_archive(tmp_path: Path) -> None:
    """A tree of a folder with two files, one of them compressed and therefore left out."""
    names, places = b"", []
    for name in ("a", "owl.ogg", "x.qml"):
        places.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    contents = b"".join(struct.pack(">I", len(each)) + each for each in (b"hoot", b"zipped"))
    nodes = [
        struct.pack(">IHII", 0, 2, 1, 1),  # the root: one child, node 1
        struct.pack(">IHII", places[0], 2, 2, 2),  # the folder a: two children from node 2
        struct.pack(">IHHHI", places[1], 0, 0, 0, 0),
        struct.pack(">IHHHI", places[2], 1, 0, 0, 8),
    ]
    start = 20
    header = struct.pack(
        ">4sIIII", b"qres", 1, start, start + 14 * 4, start + 14 * 4 + len(contents)
    )
    archive = tmp_path / "farm.rcc"
    archive.write_bytes(header + b"".join(nodes) + contents + names)
    assert dict(gcompris.files_of(archive)) == {"a/owl.ogg": b"hoot"}


def test_what_a_file_of_gcompris_shows_is_told_by_its_name() -> None:
    assert gcompris.words_of("a/measuringTape1.webp") == "measuring tape 1"
    assert gcompris.without_number("measuring tape 1") == "measuring tape"
    assert gcompris.words_of("polar_bear.webp") == "polar bear"


def test_the_sample_keeps_its_limits() -> None:
    pictures = list(SAMPLE.rglob("*.png"))
    sounds = list(SAMPLE.rglob("*.ogg"))
    assert len(pictures) >= 150
    assert len(sounds) >= 60
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 12e6
    for picture in pictures:
        assert picture.with_suffix(".txt").read_text("utf-8").strip()
        assert max(opened(picture).size) <= 256
    for sound in sounds:
        assert sound.with_suffix(".png").exists()
        assert 0 < soundfile.info(sound).duration <= 5.1
    splits = json.loads((SAMPLE / "splits.json").read_text())
    assert len(splits) == len(pictures)
    assert "Version 2" in (SAMPLE / "LICENSE").read_text()
