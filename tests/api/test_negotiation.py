"""Accept headers (RFC 9110)."""

import pytest

from memory_service.api.negotiation import preferred

OFFERED = ["application/json", "image/png"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("image/png;q=0.2, application/json", "application/json"),
        ("text/html, image/png;q=0.9, */*;q=0.1", "image/png"),
        ("application/json;q=0, */*", "image/png"),
        ("audio/wav", None),
        ("image/png;q=high", None),
    ],
)
def test_preferred(accept: str | None, chosen: str | None) -> None:
    assert preferred(accept, OFFERED) == chosen
