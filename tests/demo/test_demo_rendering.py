"""Contact sheet and report from findings made by hand."""

import io
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from memory_service.demo.contact_sheet import WIDTH, contact_sheet
from memory_service.demo.findings import (
    Answer,
    Creation,
    Findings,
    FoundItem,
    Item,
    Made,
    Panel,
    Section,
    Source,
    Swap,
)
from memory_service.demo.pictures import spectrogram, thumbnail
from memory_service.demo.report import report
from memory_service.demo.telling import creation_lines, section_lines
from memory_service.drawing import drawable, font, shorten, wrap


def picture(colour: str) -> Item:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 30), colour).save(buffer, "PNG")
    return Item("image", buffer.getvalue(), "image/png", f"a {colour} <thing>")


def sound(frequency: float) -> Item:
    buffer = io.BytesIO()
    wave = np.sin(np.arange(16_000) / 16_000 * 2 * np.pi * frequency)
    soundfile.write(buffer, wave.astype(np.float32), 16_000, format="WAV")
    return Item("audio", buffer.getvalue(), "audio/wav", "a tone")


TEXT = Item("text", "Größe — <b>bold</b>".encode(), "text/plain", "Größe — <b>bold</b>")


@pytest.fixture
def findings() -> Findings:
    def hit(item: Item, own: bool = False) -> FoundItem:
        return FoundItem(item, 0.5, 0.4, "via text", own, "m1")

    hits = {"image": (hit(picture("red")), hit(picture("blue"), own=True)), "text": (hit(TEXT),)}
    answer = Answer(
        sound(440), hits, own_in=frozenset(("image", "text")), unseen=True, elapsed_ms=5, raw={}
    )
    asked = Answer(
        TEXT, {"audio": (hit(sound(220)),)}, own_in=frozenset(), unseen=None, elapsed_ms=5, raw={}
    )
    made = (
        Made(picture("green"), "a.png", 0.3, 0.1, "g"),
        Made(sound(1000), "a.wav", 0.3, None, "g"),
        Made(TEXT, "a.txt", 0.3, 0.2, "g"),
    )
    source = Source(picture("red"), 0.7, 0.4)
    creation = Creation("a bird", picture("red"), (source,), made, True, 10, {})
    return Findings(
        samples="stamps",
        profile={},
        counts={"image": 2, "text": 1, "audio": 1},
        episodes=2,
        seconds={"import": 1.0},
        sections=(Section("Sounds", "note", (answer, asked)),),
        creations=(creation,),
        swaps=(
            Swap(
                "a cat",
                (
                    Panel("the sample", picture("yellow"), (made[0],)),
                    Panel("cyanotypes", picture("navy"), (made[0],)),
                ),
                shares=(0.5, 0.7),
            ),
        ),
    )


def test_the_rank_of_the_own_episode(findings: Findings) -> None:
    known, _ = findings.sections[0].answers
    assert known.own_rank("image") == 2
    assert known.own_rank("text") is None


def test_a_step_is_told_in_few_lines(findings: Findings) -> None:
    assert list(section_lines(findings.sections[0])) == [
        "Sounds:",
        "  Größe — <b>bold</b> → a tone (sound)",
        "  own picture at first place: 0 of 1",
        "  own text at first place: 0 of 1",
    ]
    told = " ".join(creation_lines(findings.creations[0]))
    assert "pictures at creativity 0.3; a sound; text: Größe" in told


def test_the_contact_sheet_shows_every_picture(findings: Findings) -> None:
    sheet = contact_sheet(findings)
    assert sheet.width == WIDTH
    colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height) or []}
    assert {(255, 0, 0), (0, 0, 255), (0, 128, 0)} <= colours


def test_the_report_is_one_file_with_everything_inside(findings: Findings) -> None:
    sources: list[str] = []

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            sources.extend(value or "" for name, value in attrs if name in ("src", "href"))

    page = report(findings)
    Page().feed(page)
    assert len(sources) > 8
    assert all(source.startswith("data:") for source in sources)
    assert "url(" not in page
    assert "<b>bold</b>" not in page  # what is remembered is shown, never run
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "own episode: rank 2" in page
    assert "own episode: not in the first 1" in page
    assert "not seen in training" in page


def test_a_higher_tone_lies_higher() -> None:
    def brightest_row(frequency: float) -> int:
        return int(np.asarray(spectrogram(sound(frequency).content)).sum(axis=(1, 2)).argmax())

    assert brightest_row(3000) < brightest_row(300)


def test_silence_has_a_thumbnail() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(100), 8000, format="WAV")
    item = Item("audio", buffer.getvalue(), "audio/wav", "")
    assert thumbnail(item, 40, 30).size == (40, 30)


def test_lines_fit() -> None:
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    face = font(15)
    words = ["a", "heron", "and", "an", "extraordinarily", "long", "word"]
    lines = wrap(draw, words, face, 80)
    assert " ".join(lines) == " ".join(words)
    assert all(draw.textlength(shorten(draw, line, face, 80), face) <= 80 for line in lines)
    assert drawable("Größe — é") == "Große - e"
