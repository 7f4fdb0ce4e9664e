"""How often `text_mode: answer` is right: `python -m benchmarks.answers`.

Twenty short texts with a picture each (answers.json beside this file) are stored, then asked: by
question alone, or by question and picture ("What does it eat?"). A third of the questions has no
answer there. Questions in even places chose weights and threshold, those in odd ones did not.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from generator.answers import split
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.records import QueryPart, Upload
from memory_service.settings import Settings

SET = Path(__file__).with_name("answers.json")
SAMPLES = Path(__file__).parents[1] / "samples/tuxpaint-stamps"


@dataclass(frozen=True)
class Outcome:
    answerable: bool
    pictured: bool
    answered: bool
    best: bool  # the best sentence is the right one, whatever its score
    right: bool  # answered, and rightly; or rightly not answered
    ms: float


def picture(document: dict[str, Any]) -> bytes:
    return (SAMPLES / f"{document['picture']}.png").read_bytes()


def ask(application: Application, question: dict[str, Any], given: dict[str, Any]) -> Outcome:
    documents = given["documents"]
    parts = [QueryPart("text", question["ask"].encode())]
    if "picture" in question:
        parts.append(QueryPart("image", picture(documents[question["picture"]])))
    made = application.generation.generate(
        parts, outputs=["text"], modes={"text": "answer"}, creativity=0.0, reinforce=False
    )
    details = made.outputs[0].details
    first = details["candidates"][0]["text"] if details["candidates"] else None
    answerable = "document" in question
    best = answerable and (
        first == split(documents[question["document"]]["text"])[question["sentence"]].text
    )
    found = bool(details["found"])
    right = found and best if answerable else not found
    return Outcome(answerable, "picture" in question, found, best, right, made.timings_ms["total"])


def row(table: Table, name: str, outcomes: list[Outcome]) -> None:
    def share(values: list[bool]) -> str:
        return f"{sum(values) / len(values):.2f}" if values else "-"

    table.add_row(
        name,
        str(len(outcomes)),
        share([each.best for each in outcomes if each.answerable]),
        share([each.best for each in outcomes if each.answerable and each.pictured]),
        share([each.right for each in outcomes]),
        share([each.right for each in outcomes if each.answered]),
        share([each.answered for each in outcomes if not each.answerable]),
        f"{statistics.median(each.ms for each in outcomes):.0f}",
    )


def main() -> None:
    given = json.loads(SET.read_text("utf-8"))
    with (
        tempfile.TemporaryDirectory() as folder,
        build(Settings(data_dir=Path(folder) / "data", profile="bundled")) as application,
    ):
        for each in given["documents"]:
            uploads = [Upload("text", each["text"].encode()), Upload("image", picture(each))]
            application.memory.store(uploads)
        outcomes = [ask(application, question, given) for question in given["questions"]]
    table = Table(
        "questions", "n", "best is right", "with picture", "right or silent", "answers right",
        "answered without an answer there", "ms", title=f"{len(given['documents'])} texts, k = 4",
    )  # fmt: skip
    row(table, "chosen by", outcomes[0::2])
    row(table, "others", outcomes[1::2])
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
