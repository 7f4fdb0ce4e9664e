"""docs/guide.md names every setting with its default, every command, every call of the client."""

from pathlib import Path

import pytest
import typer.main

from memory_service.cli import app
from memory_service.client import Client
from memory_service.settings import Settings

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting(name: str) -> None:
    field = Settings.model_fields[name]
    row = f"| `MEMORY_SERVICE_{name.upper()}` | `{field.default}` | {field.description} |"
    assert row in GUIDE


def test_commands() -> None:
    group = typer.main.get_command(app)
    commands = group.list_commands(typer.Context(group))  # type: ignore[attr-defined]
    assert len(commands) > 10
    for name in commands:
        assert f"`memory-service {name}" in GUIDE


def test_calls_of_the_client() -> None:
    for name in vars(Client):
        if not name.startswith("_") and name != "close":
            assert f"`{name}`" in GUIDE
