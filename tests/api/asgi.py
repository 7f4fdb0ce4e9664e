"""Requests of one's own making, past any client: what comes in, and when, is up to the test."""

import asyncio
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI


def scope(app: FastAPI, method: str, path: str, **headers: str) -> dict[str, Any]:
    """`headers` with underscores for hyphens."""
    given = {"host": "localhost", **headers}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(name.replace("_", "-").encode(), v.encode()) for name, v in given.items()],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }


class Sender:
    """A client that sends these pieces and then nothing, until `leave` is set."""

    def __init__(
        self, pieces: Iterable[bytes] = (), *, whole: bool = True, pause_s: float = 0.0
    ) -> None:
        """`whole`: the last piece ends the body; else more was to come. `pause_s`: before each but
        the first."""
        self._coming = list(pieces) or [b""]
        self._whole = whole
        self._pause_s = pause_s
        self._begun = False
        self.leave = asyncio.Event()
        self.sent: list[dict[str, Any]] = []  # to it

    async def receive(self) -> dict[str, Any]:
        if self._coming:
            if self._begun and self._pause_s:
                await asyncio.sleep(self._pause_s)
            self._begun = True
            body = self._coming.pop(0)
            more = bool(self._coming) or not self._whole
            return {"type": "http.request", "body": body, "more_body": more}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.sent)
