"""The committed figures: those of the committed weights, and the table is that of the JSON."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoders.training import evaluate
from encoders.training.data import Item
from encoders.training.data.build import summarise
from encoders.training.data.records import is_complete, write_manifest
from encoders.training.evaluate import Figures, Row, as_markdown, digests_of_weights

FIGURES = Path(__file__).parents[2] / "docs/figures"
ROW = Row("text>image", "stamps", "test", 79, 99, 0.43, 0.696, 1.0, 0.0)
ITEM = Item("a", "midi", "", "horn", "train", "audio", "a.flac", "horn", (), "a", "CC0")


def test_the_committed_figures_are_of_the_committed_weights() -> None:
    assert Figures.load(FIGURES / "encoders.json").weights == digests_of_weights()


def test_the_committed_table_has_the_committed_figures() -> None:
    rows = Figures.load(FIGURES / "encoders.json").rows
    assert (FIGURES / "encoders.md").read_text("utf-8") == as_markdown(rows)


def test_a_row_of_the_table() -> None:
    last = as_markdown([ROW]).splitlines()[-1]
    assert last == "| text -> image | stamps | test | 79 | 99 | .430 | .696 | 1.000 | .000 | .012 |"


def test_the_error_is_larger_for_fewer_queries() -> None:
    half = replace(ROW, recall_at_10=0.5, queries=100)
    assert half.error_at_10 == pytest.approx(0.05, abs=0.001)
    assert replace(half, queries=9).error_at_10 == pytest.approx(0.144, abs=0.001)


def test_figures_are_kept_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "encoders.json"
    figures = Figures({"text.safetensors": "1"}, "2", 3, [ROW, replace(ROW, source="emoji")])
    figures.save(path)
    assert Figures.load(path) == figures
    other = replace(figures, collection="4", rows=[ROW, replace(ROW, source="emoji", queries=1)])
    told = evaluate.difference(figures, other)
    assert told.endswith("weights the same, collection another; 1 of 2 rows differ")


def test_a_collection_that_was_built_in_part_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not is_complete(tmp_path)
    items = [ITEM, replace(ITEM, id="b")]
    write_manifest(tmp_path, items)
    summarise(items, tmp_path)
    assert is_complete(tmp_path)
    write_manifest(tmp_path, items[:1])
    assert not is_complete(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate", "--collection", str(tmp_path)])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert "built in part" in capsys.readouterr().err


def test_words_by_people_are_asked_for_among_those_of_another_voice() -> None:
    people = replace(ITEM, source="stamps", style=evaluate.HUMAN)
    voices = [
        replace(ITEM, id=str(n), source="speech", style=evaluate.RECORDED_VOICE, concept=concept)
        for n, concept in enumerate(("horn", "bell", "drum"))
    ]
    known = evaluate.Vectorised.__new__(evaluate.Vectorised)  # without a collection
    known.items = [people, *voices]
    known.vector = {item.id: np.eye(4, dtype=np.float32)[0] for item in known.items}
    known.captions = lambda items: np.eye(4, dtype=np.float32)[: len(items)]  # type: ignore[method-assign]
    [row] = evaluate.people_among_other_words(known)
    assert (row.queries, row.candidates, row.recall_at_1) == (1, 3, 1.0)
