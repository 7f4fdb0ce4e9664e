"""Headers are found as Starlette finds them."""

from starlette.datastructures import Headers

from memory_service.api.headers import header

SCOPE = {
    "type": "http",
    "headers": [(b"host", b"a"), (b"x-name", b"caf\xe9"), (b"host", b"b"), (b"empty", b"")],
}


def test_the_first_of_a_name_or_none() -> None:
    given = Headers(scope=SCOPE)
    for name in ("host", "x-name", "empty", "absent"):
        assert header(SCOPE, name.encode()) == given.get(name)
    assert header(SCOPE, b"x-name") == "café"
