"""Answers of the API, in the shapes of docs/api.md, for tests without a service."""

import base64
from typing import Any

MEMORY: dict[str, Any] = {
    "id": "m1",
    "episode_id": "e1",
    "namespace": "default",
    "modality": "text",
    "media_type": "text/plain",
    "size_bytes": 5,
    "sha256": "00",
    "text": "A cat",
    "metadata": {"path": "animals/cat"},
    "created_at": 1.0,
    "links": {"content": "/memories/m1/content", "episode": "/episodes/e1"},
}
EPISODE = {"id": "e1", "namespace": "default", "created_at": 1.0, "memories": [MEMORY]}
STORED = {"episode": EPISODE, "duplicate": False, "timings_ms": {"encode": 1.5}}
BATCHED = {"status": 201, "episode": EPISODE, "duplicate": False}
RETRIEVAL = {
    "results": {
        "text": [
            {
                "memory": MEMORY,
                "score": 0.9,
                "cosine": 0.5,
                "reached_by": [
                    {"path": "associative", "rank": 1, "cosine": 0.4, "via": "m2"}
                    | {"via_modality": "audio", "segment": {"start_s": 61.0, "end_s": 63.0}}
                ],
                "segment": None,
            }
        ],
        "audio": [],
    },
    "familiarity": {"text": 0.3},
    "timings_ms": {},
}
GENERATION = {
    "id": "g1",
    "namespace": "default",
    "created_at": 1.0,
    "seed": 7,
    "creativity": 0.3,
    "fusion": "attention",
    "space": {"id": "s", "fingerprint": "f"},
    "memories": [
        {
            "memory_id": "m1",
            "episode_id": "e1",
            "modality": "text",
            "weight": 1.0,
            "cosine": 0.5,
            "deleted": False,
        }
    ],
    "outputs": [
        {
            "id": "o1",
            "modality": "text",
            "media_type": "text/plain",
            "size_bytes": 5,
            "sha256": "00",
            "text": "a cow",
            "data": base64.b64encode(b"a cow").decode(),
            "generator": {"name": "text", "fingerprint": "f"},
            "novelty": 0.2,
            "nearest_memory_id": "m1",
            "details": {},
            "links": {"content": "/generations/g1/content?output=text"},
        }
    ],
    "timings_ms": {},
}
RECEIPT: dict[str, Any] = {
    "id": "r1",
    "time": 1.0,
    "what": "memory",
    "memory_ids": ["m1"],
    "episode_ids": ["e1"],
    "contents": ["00"],
    "blobs_removed": ["00"],
    "removed": {"memories": 1},
    "generations_marked": ["g1"],
    "generations_erased": [],
    "kept": True,
    "complete": True,
    "clean": False,
    "probe": None,
}
JOB: dict[str, Any] = {
    "id": "j1",
    "kind": "reembed",
    "state": "running",
    "created_at": 1.0,
    "updated_at": 2.0,
    "finished_at": None,
    "parameters": {"profile": "bundled"},
    "progress": {"phase": "embedding", "eta_s": 3.5},
    "result": None,
    "error": None,
    "links": {"self": "/jobs/j1"},
}
