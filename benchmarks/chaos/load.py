"""Clients that store, delete, change, recall and generate until the service dies under them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.chaos.ledger import MARK, Ledger

PATIENCE_S = 20.0
KEY, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
KEYED = 0.5  # share of the stores that bear a key
Operation = Callable[[], None]


def png(seed: int, side: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Caller:
    """One client. `run` ends when the service does not answer any more, or it is told to stop."""

    url: str
    ledger: Ledger
    name: str
    seed: str
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.drawn = random.Random(self.seed)
        self.count = 0
        self.answered: deque[tuple[str, dict[str, Any], list[str]]] = deque(maxlen=20)
        self.weighted: list[tuple[Operation, int]] = [
            (self.store, 40),
            (self.store_large, 8),
            (self.store_batch, 8),
            (self.store_again, 6),
            (self.delete_memory, 14),
            (self.delete_episode, 10),
            (self.patch, 12),
            (self.recall, 10),
            (self.generate, 3),
            (self.consolidate, 1),
        ]

    def run(self) -> None:
        operations, weights = zip(*self.weighted, strict=True)
        with httpx.Client(
            base_url=self.url, transport=httpx.HTTPTransport(), timeout=PATIENCE_S
        ) as self.http:
            while not self.stop.is_set():
                operation = self.drawn.choices(operations, weights)[0]
                try:
                    operation()
                except httpx.TransportError:  # killed: what it was at is in doubt
                    return
                self.done[operation.__name__] += 1

    def expect(self, answer: httpx.Response, *statuses: int) -> bool:
        """Whether it was done. What is neither that nor told to be too much is noted."""
        if answer.status_code in statuses:
            return True
        if answer.status_code not in (429, 503):
            self.wrong.append(f"{answer.request.method} {answer.url.path}: {answer.text[:300]}")
        return False

    def next_mark(self) -> str:
        self.count += 1
        return f"{self.name}-{self.count}"

    def store(self, *, side: int = 12) -> None:
        mark, body = self._episode(side)
        headers = {KEY: mark} if self.drawn.random() < KEYED else {}
        if headers:
            self.ledger.sending(mark, body)
        answer = self.http.post("/store", json=body, headers=headers)
        if not self.expect(answer, 201):
            self.ledger.refused(mark)
            return
        memories = answer.json()["episode"]["memories"]
        self.ledger.stored(mark, memories)
        if headers:
            self.answered.append((mark, body, sorted(each["id"] for each in memories)))

    def store_again(self) -> None:
        """As a client does that has not read the answer: it gets the same one."""
        if not self.answered:
            return
        mark, body, ids = self.drawn.choice(self.answered)
        answer = self.http.post("/store", json=body, headers={KEY: mark})
        if not self.expect(answer, 201, 404):
            return
        if answer.status_code == 404:
            if self.ledger.lives(ids):
                self.wrong.append(f"{mark} is there, and sent again it is said to be forgotten")
            return
        again = sorted(each["id"] for each in answer.json()["episode"]["memories"])
        # A part of it may have been deleted since.
        if not set(again) <= set(ids) or REPLAYED not in answer.headers:
            self.wrong.append(f"{mark} was stored as {ids}, and sent again as {again}")

    def _episode(self, side: int) -> tuple[str, dict[str, Any]]:
        """A mark, which is in doubt from now on, and what to store under it."""
        mark = self.next_mark()
        contents = {"text": f"note {mark} of {self.drawn.randrange(50)} things".encode()}
        if side > 12 or self.drawn.random() < 0.4:
            contents["image"] = png(self.drawn.randrange(2**31), side)
        items = [
            {"modality": name, "data": base64.b64encode(content).decode()}
            for name, content in contents.items()
        ]
        self.ledger.storing(mark, [hashlib.sha256(each).hexdigest() for each in contents.values()])
        return mark, {"items": items, "metadata": {MARK: mark}}

    def store_batch(self) -> None:
        """Each line is certain as soon as it is answered, whatever becomes of those behind it."""
        episodes = [self._episode(12) for _ in range(self.drawn.randint(2, 12))]
        lines = "\n".join(json.dumps(body) for _, body in episodes)
        headers = {"Content-Type": "application/x-ndjson"}
        with self.http.stream("POST", "/store/batch", content=lines, headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                self.expect(answer)
                for mark, _ in episodes:
                    self.ledger.refused(mark)
                return
            for line in map(json.loads, answer.iter_lines()):
                mark, _ = episodes[line["index"]]
                if line["status"] == 201:
                    self.ledger.stored(mark, line["episode"]["memories"])
                else:
                    self.ledger.refused(mark)

    def store_large(self) -> None:
        """More than what may lie in the database: a file of its own."""
        self.store(side=200)

    def delete_memory(self) -> None:
        self._delete(episode=False)

    def delete_episode(self) -> None:
        self._delete(episode=True)

    def _delete(self, *, episode: bool) -> None:
        memories = self.ledger.pick(self.drawn, episode)
        if not memories:
            return
        first = memories[0]
        path = f"/episodes/{first.episode_id}" if episode else f"/memories/{first.id}"
        self.ledger.deleting(memories, f"DELETE {path}")
        answer = self.http.delete(path)
        if self.expect(answer, 200):
            self.ledger.gone(answer.json()["memory_ids"])
        else:
            for each in memories:
                self.ledger.unchanged(each)

    def patch(self) -> None:
        for memory in self.ledger.pick(self.drawn):
            changed = {**memory.metadata[0], "changed": self.drawn.randrange(10**6)}
            self.ledger.patching(memory, changed)
            answer = self.http.patch(f"/memories/{memory.id}", json={"metadata": changed})
            if self.expect(answer, 200):
                self.ledger.patched(memory)
            else:
                self.ledger.unchanged(memory)

    def recall(self) -> None:
        query = {"text": f"note of {self.drawn.randrange(50)} things"}
        self.expect(self.http.post("/retrieve", json={"query": query, "k": 5}), 200)

    def generate(self) -> None:
        query = {"text": f"note of {self.drawn.randrange(50)} things"}
        answer = self.http.post("/generate", json={"query": query, "output": ["image", "text"]})
        if answer.status_code != 409 and self.expect(answer, 201):  # 409: nothing remembered yet
            made: dict[str, Any] = answer.json()
            self.ledger.generated(made["id"], [each["sha256"] for each in made["outputs"]])

    def consolidate(self) -> None:
        self.expect(self.http.post("/consolidate", json={"threshold": 0.97}), 202, 409)
