"""The committed figures: the table is that of the JSON."""

import json
from pathlib import Path

from encoders.training.evaluate import Row, as_markdown

FIGURES = Path(__file__).parents[2] / "docs/figures"


def test_the_committed_table_has_the_committed_figures() -> None:
    rows = [Row(**row) for row in json.loads((FIGURES / "encoders.json").read_text("utf-8"))]
    assert (FIGURES / "encoders.md").read_text("utf-8") == as_markdown(rows)


def test_a_row_of_the_table() -> None:
    row = Row("text>image", "stamps", "test", 79, 99, 0.43, 0.696, 1.0, 0.0)
    last = as_markdown([row]).splitlines()[-1]
    assert last == "| text -> image | stamps | test | 79 | 99 | .430 | .696 | 1.000 | .000 |"
