"""What is logged of an error that becomes an answer."""

from __future__ import annotations

import pytest

from memory_service.api import problems
from memory_service.errors import InvalidInput, NotReady, StorageFailure


def test_only_faults_are_logged_with_their_trace(caplog: pytest.LogCaptureFixture) -> None:
    for error in (InvalidInput("k is 0"), NotReady("shutting down"), StorageFailure("torn page")):
        problems.members_of(error)
    told = [(each.levelname, bool(each.exc_info)) for each in caplog.records]
    assert told == [("WARNING", False), ("ERROR", True)]
