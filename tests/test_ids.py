"""Identifiers rise, are of version 7, and are nobody else's."""

import os
import subprocess
import sys
import uuid

import pytest

from memory_service import ids
from memory_service.ids import new_id


def test_ids_rise_and_say_when() -> None:
    made = [new_id() for _ in range(1000)]
    assert made == sorted(set(made))
    assert {uuid.UUID(each).version for each in made} == {7}
    assert {uuid.UUID(each).variant for each in made} == {uuid.RFC_4122}
    first, last = (uuid.UUID(made[at]).int >> 80 for at in (0, -1))
    assert 0 <= last - first < 60_000  # milliseconds


def test_the_system_is_not_asked_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = os.urandom

    def counted(size: int) -> bytes:
        asked.append(size)
        return real(size)

    monkeypatch.setattr(ids.os, "urandom", counted)
    made = {new_id()[-12:] for _ in range(1000)}
    assert len(asked) <= 5
    assert len(made) == 1000


FORK = """
import os
from memory_service import ids
ids.new_id()
drawn = list(ids._drawn)
child = os.fork()
if child == 0:
    os._exit(len(ids._drawn))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert ids._drawn == drawn != []
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_draws_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True)
