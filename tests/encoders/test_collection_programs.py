"""A build that lacks a program of others says so before it begins."""

import pytest

from encoders.training.data import __main__ as command
from encoders.training.data import programs
from encoders.training.data.build import SOURCES


def test_what_a_build_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(programs.NEEDED) == set(SOURCES)
    monkeypatch.setattr(programs, "_is_here", lambda program: "festiv" not in program)
    programs.check(["stamps", "emoji", "midi"])
    with pytest.raises(programs.ProgramsMissing, match=r"needs festival, .*ked_diphone") as missing:
        programs.check(SOURCES)
    assert "apt-get install festival festvox-kdlpc16k festvox-us-slt-hts" in str(missing.value)


def test_the_command_ends_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "_is_here", lambda program: program != "fluidsynth")
    monkeypatch.setattr(command, "build", None)
    monkeypatch.setattr("sys.argv", ["data", "--sources", "emoji", "midi"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "the collection needs fluidsynth: apt-get install fluidsynth\n"
    )
