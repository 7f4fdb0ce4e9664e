"""Ways to make a modality: tags, answers, speech. With the fake profile, whose words are real."""

import shutil
from collections.abc import Mapping
from typing import Any

import pytest
from conftest import Open
from service_media import png, text

from generator import speech
from memory_service import manifest
from memory_service.app import Application
from memory_service.errors import InvalidInput, ModalityUnavailable
from memory_service.records import QueryPart

QUESTION = QueryPart("text", b"How many litres of milk does the cow give?")
COW = "The cow gives 25 litres of milk. It sleeps four hours."
installed = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


@pytest.fixture
def farm(app: Application) -> Application:
    app.memory.store([text(COW)], metadata={"tags": ["cow", "milk"]})
    app.memory.store([text("The owl hears a mouse.")], metadata={"tags": "owl, night"})
    return app


def test_an_answer_names_its_memory_and_place(farm: Application) -> None:
    record = farm.generation.generate([QUESTION], outputs=["text"], modes={"text": "answer"})
    (output,) = record.outputs
    assert output.generator == "extractive-answer"
    assert record.modes == {"text": "answer"}
    details = output.details
    assert output.text == "The cow gives 25 litres of milk."
    assert farm.memory.get(details["memory_id"]).text == COW
    assert COW[details["start"] : details["end"]] == output.text
    assert farm.generations.get(record.id).modes == record.modes
    assert farm.generations.replay(record.id) == {output.id: True}


def test_a_question_may_have_a_picture(farm: Application) -> None:
    parts = [QUESTION, QueryPart("image", png(1))]
    record = farm.generation.generate(parts, outputs=["text"], modes={"text": "answer"})
    assert record.outputs[0].details["candidates"][0]["text"].startswith("The cow gives")


def test_tags_come_from_metadata(farm: Application) -> None:
    record = farm.generation.generate(
        [QUESTION], outputs=["text"], modes={"text": "tags"}, k=1, creativity=0.0
    )
    (output,) = record.outputs
    by = {each["tag"]: each["memory_ids"] for each in output.details["tags"]}
    (share,) = record.memories
    assert set(by) <= {"cow", "milk"} | {f"number {n}" for n in range(32)}
    assert all(ids == [share.memory_id] for tag, ids in by.items() if tag in ("cow", "milk"))
    assert farm.generations.replay(record.id) == {output.id: True}


def test_the_default_mode_is_not_recorded(farm: Application) -> None:
    modes = {"text": "caption", "audio": "sound"}
    record = farm.generation.generate([QUESTION], outputs=["text", "audio"], modes=modes)
    assert record.modes == {}


@installed
@pytest.mark.parametrize("outputs", [["text", "audio"], ["audio"], ["audio", "text", "image"]])
def test_speech_says_the_text(farm: Application, open_app: Open, outputs: list[str]) -> None:
    modes = {"text": "answer", "audio": "speech"}
    record = farm.generation.generate([QUESTION], outputs=outputs, modes=modes, explain=True)
    sound = next(each for each in record.outputs if each.modality == "audio")
    assert sound.generator.startswith("espeak-ng")
    assert sound.details["text"] == "The cow gives 25 litres of milk."
    says = manifest.read(farm.generations.content(record.id, "audio")[1])
    assert says is not None
    assert says["source_type"].endswith("/algorithmicMedia")
    for each in record.outputs:
        if each.modality == "text":
            assert each.text == sound.details["text"]
    cow = next(s for s in record.memories if farm.memory.get(s.memory_id).text == COW)
    assert cow.effects["audio"] > 0
    assert all(farm.generations.replay(record.id).values())
    farm.close()
    assert all(open_app().generations.replay(record.id).values())


@installed
def test_what_quotes_or_speaks_is_not_drawn_again(farm: Application) -> None:
    record = farm.generation.generate(
        [QUESTION], outputs=["text", "audio"], modes={"text": "answer", "audio": "speech"},
        max_similarity=0.0,
    )  # fmt: skip
    assert [each.draws for each in record.outputs] == [(), ()]


def test_without_espeak_it_is_said_before_anything_is_made(
    farm: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    with pytest.raises(ModalityUnavailable, match="espeak-ng"):
        farm.generation.generate([QUESTION], outputs=["audio"], modes={"audio": "speech"})


@pytest.mark.parametrize(
    ("parts", "outputs", "modes"),
    [
        ([QUESTION], ["text"], {"text": "poem"}),
        ([QUESTION], ["image"], {"image": "oil"}),
        ([QUESTION], ["image"], {"text": "answer"}),
        ([QUESTION], ["text"], {"audio": "speech"}),
        ([QUESTION], ["audio"], {"text": "tags"}),
        ([QueryPart("image", png(1))], ["text"], {"text": "answer"}),
    ],
)
def test_refuses(
    farm: Application, parts: list[QueryPart], outputs: list[str], modes: Mapping[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="_mode"):
        farm.generation.generate(parts, outputs=outputs, modes=modes)
