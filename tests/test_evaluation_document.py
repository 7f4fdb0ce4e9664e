"""docs/evaluation.md says what the committed figures say."""

import importlib.util
from pathlib import Path

import pytest

from memory_service.services.evaluation.markdown import MARK, TABLES, UnknownTable, filled

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/evaluation.md"
_spec = importlib.util.spec_from_file_location("figures", ROOT / "scripts/evaluation_figures.py")
assert _spec is not None
assert _spec.loader is not None
figures_of = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(figures_of)

SHARE = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 12}
FIGURES = {"evaluation": {"swap": [{"creativity": 0.3, "share": SHARE}]}}
TEXT = "before\n<!-- evaluation: swap -->\nold | table\n<!-- end -->\nafter\n"


def test_the_tables_are_those_of_the_committed_figures() -> None:
    document = DOCUMENT.read_text("utf-8")
    marks = {(mark["figures"], mark["table"]) for mark in MARK.finditer(document)}
    assert marks >= {("evaluation", table) for table in TABLES}
    figures = figures_of.read_figures()
    # No table is without figures, and no figures are without tables.
    assert {name for name, _ in marks} == set(figures) >= {"evaluation"}
    assert filled(document, figures) == document


def test_no_table_is_empty() -> None:
    for mark in MARK.finditer(DOCUMENT.read_text("utf-8")):
        head, *told, _ = mark[0].splitlines()
        assert any(told), head
        if mark["table"] != "about":
            assert sum(line.startswith("|") for line in told) > 2, head


def test_what_is_not_made_yet_gets_its_tables_with_its_figures() -> None:
    document = f"before\n{figures_of.NOT_MADE}\nafter\n"
    assert figures_of.with_unseen(document, {"evaluation": {}}) == document
    made = figures_of.with_unseen(document, {"evaluation-unseen": {}})
    assert "Not made" not in made
    assert [mark["table"] for mark in MARK.finditer(made)] == [
        "about",
        "targets",
        "order",
        "ladders",
    ]
    text = DOCUMENT.read_text("utf-8")
    assert (figures_of.NOT_MADE in text) != ("evaluation-unseen" in figures_of.read_figures())


def test_a_table_is_written_anew_and_all_else_stays() -> None:
    made = filled(TEXT, FIGURES)
    assert made.startswith("before\n<!-- evaluation: swap -->\n| creativity |")
    assert "| 0.3 | 0.500 | 0.25 to 0.75 | 12 |" in made
    assert made.endswith("<!-- end -->\nafter\n")
    assert "old" not in made
    assert filled(made, FIGURES) == made


def test_what_there_are_no_figures_of_stays_as_it_is() -> None:
    assert filled(TEXT, {}) == TEXT


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UnknownTable, match="there is no table 'nothing'"):
        filled("<!-- evaluation: nothing -->\n<!-- end -->", FIGURES)
