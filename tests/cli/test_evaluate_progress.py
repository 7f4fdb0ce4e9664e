"""What `evaluate` says on the way where nobody watches a terminal."""

import re

import pytest

from memory_service.cli.evaluation import _progress

PHASES = (
    "storing: 1 of 2",
    "storing: 2 of 2",
    "text -> image: real",
    "text -> image: own memory, creativity 0",
    "",
    "page",
)


def test_off_a_terminal_each_section_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with _progress() as show:
        for phase in PHASES:
            show({"phase": phase})
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^ *\d+ s  ", "", line) for line in lines] == [
        "storing",
        "text -> image",
        "page",
    ]
