"""Records of generations in the catalog: rows to records, and back."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from memory_service.errors import NotFound
from memory_service.records import (
    AskedPart,
    Draw,
    Generation,
    GenerationOutput,
    MediaNovelty,
    MemoryShare,
    Segment,
)
from memory_service.storage import rows
from memory_service.storage.catalog import Catalog

ALL = -1  # the position under which the effect of all memories together is kept
Effects = Mapping[tuple[str, int], float]  # by modality of the output, and position or ALL


def insert(connection: sqlite3.Connection, record: Generation) -> None:
    """Insert within an open transaction."""
    connection.execute(
        "INSERT INTO generations (id, namespace, created_at, seed, creativity, fusion, space_id,"
        " space_fingerprint, query_vector, timings, query, modes, agreement, fusion_fingerprint,"
        " options) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.namespace,
            record.created_at,
            record.seed,
            record.creativity,
            record.fusion,
            record.space_id,
            record.space_fingerprint,
            record.query_vector.astype("<f4").tobytes(),
            json.dumps(dict(record.timings_ms)),
            _json(asdict(each) for each in record.query),
            json.dumps(dict(record.modes)),
            json.dumps(dict(record.agreement)),
            record.fusion_fingerprint,
            None if record.options is None else json.dumps(dict(record.options)),
        ),
    )
    connection.executemany(
        "INSERT INTO generation_memories (generation_id, position, memory_id, episode_id,"
        " modality, weight, cosine, start_s, end_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (record.id, position, each.memory_id, each.episode_id, each.modality, each.weight,
             each.cosine, each.segment and each.segment.start_s,
             each.segment and each.segment.end_s)
            for position, each in enumerate(record.memories)
        ],
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO generation_outputs (id, generation_id, position, modality, media_type, blob,"
        " size_bytes, text, generator, generator_fingerprint, novelty, nearest_memory_id, details,"
        " seed, draws, media_novelty, vector, media_sha256)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (each.id, record.id, position, each.modality, each.media_type, each.blob,
             each.size_bytes, each.text, each.generator, each.generator_fingerprint, each.novelty,
             each.nearest_memory_id, json.dumps(dict(each.details)), each.seed,
             _json(asdict(draw) for draw in each.draws),
             each.media_novelty and json.dumps(asdict(each.media_novelty)),
             None if each.vector is None else each.vector.astype("<f4").tobytes(),
             each.media_sha256)
            for position, each in enumerate(record.outputs)
        ],
    )  # fmt: skip
    effects = {
        (modality, position): effect
        for position, share in enumerate(record.memories)
        for modality, effect in share.effects.items()
    }
    for each in record.outputs:
        if each.effect_of_all is not None:
            effects[each.modality, ALL] = each.effect_of_all
    insert_effects(connection, record.id, effects)


def insert_effects(connection: sqlite3.Connection, generation_id: str, effects: Effects) -> None:
    """What was measured before is replaced."""
    connection.executemany(
        "INSERT OR REPLACE INTO generation_effects (generation_id, modality, position, effect)"
        " VALUES (?, ?, ?, ?)",
        [(generation_id, *key, effect) for key, effect in effects.items()],
    )


def _json(values: Iterable[Any]) -> str:
    return json.dumps(list(values))


def made_from(connection: sqlite3.Connection, memory_ids: Iterable[str]) -> list[str]:
    """The ids of the generations that any of these memories has a share in."""
    found = connection.execute(
        "SELECT DISTINCT generation_id FROM json_each(?) JOIN generation_memories"
        " ON memory_id = value ORDER BY generation_id",
        (json.dumps(list(memory_ids)),),
    )
    return [row["generation_id"] for row in found]


def delete(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """Delete records with their outputs, within an open transaction; returns the blobs that the
    outputs named."""
    wanted = (json.dumps(list(ids)),)
    blobs = connection.execute(
        "SELECT DISTINCT blob FROM json_each(?) JOIN generation_outputs ON generation_id = value",
        wanted,
    ).fetchall()
    connection.execute(
        "DELETE FROM generations WHERE id IN (SELECT value FROM json_each(?))", wanted
    )
    return [row["blob"] for row in blobs]


def get(catalog: Catalog, generation_id: str) -> Generation:
    """Raises NotFound when there is none."""
    found = catalog.select("SELECT * FROM generations WHERE id = ?", (generation_id,))
    if not found:
        raise NotFound(
            f"there is no generation {generation_id!r}", kind="generation", id=generation_id
        )
    row = found[0]
    effects = _effects(catalog, generation_id)
    return Generation(
        id=row["id"],
        namespace=row["namespace"],
        created_at=row["created_at"],
        seed=row["seed"],
        creativity=row["creativity"],
        fusion=row["fusion"],
        space_id=row["space_id"],
        space_fingerprint=row["space_fingerprint"],
        query_vector=rows.vector(row["query_vector"]),
        memories=_shares(catalog, generation_id, effects),
        outputs=_outputs(catalog, generation_id, row["seed"], effects[ALL]),
        timings_ms=json.loads(row["timings"]),
        query=tuple(AskedPart(**each) for each in json.loads(row["query"])),
        modes=json.loads(row["modes"]),
        agreement=json.loads(row["agreement"]),
        fusion_fingerprint=row["fusion_fingerprint"],
        options=None if row["options"] is None else json.loads(row["options"]),
    )


def newest(
    catalog: Catalog,
    namespace: str | None,
    namespaces: Collection[str] | None,
    before: str | None,
    limit: int,
) -> list[str]:
    """Their ids, which sort by time, the newest first: those below `before`. `namespaces`: all that
    may be listed, whatever `namespace` says; None: any."""
    found = catalog.select(
        "SELECT id FROM generations WHERE (?1 IS NULL OR namespace = ?1)"
        " AND (?2 IS NULL OR namespace IN (SELECT value FROM json_each(?2)))"
        " AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4",
        (namespace, None if namespaces is None else json.dumps(list(namespaces)), before, limit),
    )
    return [row["id"] for row in found]


def _effects(catalog: Catalog, generation_id: str) -> Mapping[int, Mapping[str, float]]:
    """By position, then by modality of the output."""
    effects: dict[int, dict[str, float]] = defaultdict(dict)
    for row in catalog.select(
        "SELECT modality, position, effect FROM generation_effects WHERE generation_id = ?",
        (generation_id,),
    ):
        effects[row["position"]][row["modality"]] = row["effect"]
    return effects


def _shares(
    catalog: Catalog, generation_id: str, effects: Mapping[int, Mapping[str, float]]
) -> tuple[MemoryShare, ...]:
    found = catalog.select(
        "SELECT g.*, m.id IS NULL AS deleted FROM generation_memories g"
        " LEFT JOIN alive m ON m.id = g.memory_id WHERE generation_id = ? ORDER BY position",
        (generation_id,),
    )
    return tuple(
        MemoryShare(
            memory_id=row["memory_id"],
            episode_id=row["episode_id"],
            modality=row["modality"],
            weight=row["weight"],
            cosine=row["cosine"],
            deleted=bool(row["deleted"]),
            segment=None if row["start_s"] is None else Segment(row["start_s"], row["end_s"]),
            effects=effects[row["position"]],
        )
        for row in found
    )


def _outputs(
    catalog: Catalog, generation_id: str, seed: int, effects: Mapping[str, float]
) -> tuple[GenerationOutput, ...]:
    found = catalog.select(
        "SELECT * FROM generation_outputs WHERE generation_id = ? ORDER BY position",
        (generation_id,),
    )
    return tuple(
        GenerationOutput(
            id=row["id"],
            modality=row["modality"],
            media_type=row["media_type"],
            blob=row["blob"],
            size_bytes=row["size_bytes"],
            text=row["text"],
            generator=row["generator"],
            generator_fingerprint=row["generator_fingerprint"],
            novelty=row["novelty"],
            nearest_memory_id=row["nearest_memory_id"],
            details=json.loads(row["details"]),
            seed=seed if row["seed"] is None else row["seed"],
            draws=tuple(Draw(**each) for each in json.loads(row["draws"])),
            media_novelty=_media_novelty(row["media_novelty"]),
            vector=None if row["vector"] is None else rows.vector(row["vector"]),
            media_sha256=row["media_sha256"],
            effect_of_all=effects.get(row["modality"]),
        )
        for row in found
    )


def _media_novelty(written: str | None) -> MediaNovelty | None:
    return None if written is None else MediaNovelty(**json.loads(written))
