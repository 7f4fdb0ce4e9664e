"""A memory as it is stored has all that it was made with."""

from dataclasses import fields, replace

from memory_service.records import Memory


def test_every_other_field_is_kept() -> None:
    values = {each.name: f"of {each.name}" for each in fields(Memory) if each.init}
    memory = Memory(**{**values, "metadata": {"place": "desk"}, "created_at": 1.5})  # type: ignore[arg-type]
    told = memory.as_json
    placed = memory.placed(7, "abc")
    assert placed == replace(memory, sequence=7, blob="abc")
    assert placed.as_json == told.replace("of blob", "abc")
