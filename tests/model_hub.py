"""A hub of models on 127.0.0.1: as much of the real one's contract as huggingface_hub asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, metadata_load

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """Serves `folder/owner/name/file`; `requests` lists what was asked, as "GET /path"."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self) -> list[str]:
        return [each.split("/")[-1] for each in self.requests if each.startswith("GET /owner")]


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    with Hub(folder) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub with an empty cache, in place of the real one; it serves `tmp_path / "hub"`."""
    (tmp_path / "hub").mkdir(exist_ok=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        match path.strip("/").split("/"):
            case ["api", "models", owner, name]:
                self._describe(owner, name)
            case [owner, name, "resolve", _, *file]:
                self._file((self.server.folder / owner / name).joinpath(*file))
            case _:
                self._send(404, b"", {})

    def _describe(self, owner: str, name: str) -> None:
        folder = self.server.folder / owner / name
        if not folder.is_dir():
            # The real one does not tell what there is not from what is private.
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        if (folder / "GATED").exists():
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            return
        card = folder / "README.md"
        record: dict[str, Any] = {
            "id": f"{owner}/{name}",
            "sha": COMMIT,
            "cardData": (metadata_load(card) or {}) if card.exists() else {},
            "siblings": [
                {"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            ],
        }
        self._send(200, json.dumps(record).encode(), {"Content-Type": "application/json"})

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, content, {"X-Repo-Commit": COMMIT, "ETag": etag})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
