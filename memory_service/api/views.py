"""Records of the services as the models that the API answers."""

from __future__ import annotations

import base64
from dataclasses import asdict
from json.encoder import encode_basestring as quoted
from typing import Any

from pydantic_core import to_json

from memory_service.access import Key
from memory_service.api import operator_schemas, schemas
from memory_service.records import (
    Episode,
    Explained,
    Generation,
    GenerationOutput,
    Hit,
    Job,
    Memory,
    NamespaceLife,
    Reach,
    Retrieval,
    Segment,
    Stored,
)
from memory_service.strength import FORMULA


def memory_members(record: Memory) -> dict[str, Any]:
    """The members of MemoryOut."""
    return {
        "id": record.id,
        "episode_id": record.episode_id,
        "namespace": record.namespace,
        "modality": record.modality,
        "media_type": record.media_type,
        "size_bytes": record.size_bytes,
        "sha256": record.blob,
        "text": record.text,
        "metadata": dict(record.metadata),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "prototype": record.consolidated_by is not None,
        "links": {
            "content": f"/memories/{record.id}/content",
            "episode": f"/episodes/{record.episode_id}",
        },
    }


def memory(record: Memory) -> schemas.MemoryOut:
    return schemas.MemoryOut(**memory_members(record))


def explained(record: Explained) -> schemas.MemoryDetailOut:
    lineage = record.lineage
    return schemas.MemoryDetailOut(
        **memory(record.memory).model_dump(),
        strength=schemas.StrengthOut(**asdict(record.strength), formula=FORMULA),
        lineage=None if lineage is None else schemas.LineageOut.model_validate(asdict(lineage)),
    )


def namespace_settings(record: NamespaceLife) -> schemas.NamespaceSettingsOut:
    return schemas.NamespaceSettingsOut(
        namespace=record.namespace,
        **asdict(record.life),
        configured=list(record.configured),
    )


def episode_members(record: Episode) -> dict[str, Any]:
    """The members of EpisodeOut."""
    return {
        "id": record.id,
        "namespace": record.namespace,
        "created_at": record.created_at,
        "memories": [memory_members(each) for each in record.memories],
    }


def episode(record: Episode) -> schemas.EpisodeOut:
    return schemas.EpisodeOut(**episode_members(record))


def batch_line(index: int, record: Stored) -> dict[str, Any]:
    """The members of BatchLineOut."""
    return {
        "index": index,
        "status": 200 if record.duplicate else 201,
        "episode": episode_members(record.episode),
        "duplicate": record.duplicate,
        **({"replayed": True} if record.replayed else {}),
    }


def stored(record: Stored) -> dict[str, Any]:
    """The members of StoredOut, whose models would take longer to make than the rows to write."""
    return {
        "episode": episode_members(record.episode),
        "duplicate": record.duplicate,
        "timings_ms": record.timings_ms,
    }


def retrieval(record: Retrieval) -> bytes:
    """RetrievalOut as JSON. Written hit by hit: to make models, or only dicts, of ten hits takes
    longer than to find them."""
    results = ",".join(
        f"{quoted(modality)}:[{','.join(map(_hit, hits))}]"
        for modality, hits in record.hits.items()
    )
    rest = {
        "familiarity": record.familiarity,
        "spaces": record.spaces,
        "timings_ms": record.timings_ms,
    }
    return b'{"results":{%b},%b' % (results.encode(), to_json(rest)[1:])


def _hit(record: Hit) -> str:
    """Its memory as `memory_members`, in one piece: ten hits are ten calls fewer."""
    memory = record.memory
    return (
        f'{{"memory":{{{memory.as_json},"links":{{"content":"/memories/{memory.id}/content",'
        f'"episode":"/episodes/{memory.episode_id}"}}}},"score":{record.score!r},'
        f'"cosine":{_number(record.cosine)},'
        f'"reached_by":[{",".join(map(_reach, record.reached_by))}],'
        f'"segment":{_part(record.segment)}}}'
    )


def _reach(record: Reach) -> str:
    if record.path == "direct" and record.segment is None:  # as most are
        return (
            f'{{"path":"direct","rank":{record.rank},"cosine":{record.cosine!r},'
            f'"via":null,"via_modality":null,"segment":null}}'
        )
    return (
        f'{{"path":"{record.path}","rank":{record.rank},"cosine":{record.cosine!r},'
        f'"via":{_text(record.via)},"via_modality":{_text(record.via_modality)},'
        f'"segment":{_part(record.segment)}}}'
    )


def _text(value: str | None) -> str:
    return "null" if value is None else quoted(value)


def _number(value: float | None) -> str:
    return "null" if value is None else repr(value)


def _part(record: Segment | None) -> str:
    if record is None:
        return "null"
    return f'{{"start_s":{record.start_s!r},"end_s":{record.end_s!r}}}'


def _segment_members(record: Segment | None) -> dict[str, float] | None:
    return None if record is None else {"start_s": record.start_s, "end_s": record.end_s}


def _segment(record: Segment | None) -> schemas.SegmentOut | None:
    return None if record is None else schemas.SegmentOut.model_validate(_segment_members(record))


def generation(record: Generation, contents: dict[str, bytes]) -> schemas.GenerationOut:
    """`contents`: by output id, the bytes to answer along."""
    return schemas.GenerationOut(
        id=record.id,
        namespace=record.namespace,
        created_at=record.created_at,
        seed=record.seed,
        creativity=record.creativity,
        fusion=record.fusion,
        fusion_fingerprint=record.fusion_fingerprint,
        query=[schemas.AskedPartOut.model_validate(asdict(each)) for each in record.query],
        modes=dict(record.modes),
        options=(
            None
            if record.options is None
            else schemas.GenerationOptionsOut.model_validate(record.options)
        ),
        space=schemas.SpaceOut(id=record.space_id, fingerprint=record.space_fingerprint),
        memories=[
            schemas.ShareOut(
                memory_id=share.memory_id,
                episode_id=share.episode_id,
                modality=share.modality,
                weight=share.weight,
                cosine=share.cosine,
                deleted=share.deleted,
                segment=_segment(share.segment),
                effect=share.effect,
                effects=dict(share.effects),
            )
            for share in record.memories
        ],
        outputs=[_output(record.id, each, contents.get(each.id)) for each in record.outputs],
        agreement=dict(record.agreement),
        timings_ms=dict(record.timings_ms),
    )


def _output(
    generation_id: str, record: GenerationOutput, content: bytes | None
) -> schemas.OutputOut:
    novelty = record.media_novelty
    return schemas.OutputOut(
        id=record.id,
        modality=record.modality,
        media_type=record.media_type,
        size_bytes=record.size_bytes,
        sha256=record.blob,
        media_sha256=record.media_sha256,
        text=record.text,
        data=None if content is None else base64.b64encode(content).decode(),
        generator=schemas.ModelOut(name=record.generator, fingerprint=record.generator_fingerprint),
        novelty=record.novelty,
        nearest_memory_id=record.nearest_memory_id,
        media_novelty=novelty and schemas.MediaNoveltyOut.model_validate(asdict(novelty)),
        seed=record.seed,
        draws=[schemas.DrawOut.model_validate(asdict(each)) for each in record.draws],
        effect_of_all=record.effect_of_all,
        details=dict(record.details),
        links={"content": f"/generations/{generation_id}/content?output={record.modality}"},
    )


def job(record: Job) -> operator_schemas.JobOut:
    return operator_schemas.JobOut(
        id=record.id,
        kind=record.kind,
        state=record.state,
        created_at=record.created_at,
        updated_at=record.updated_at,
        finished_at=record.finished_at,
        parameters=dict(record.parameters),
        progress=dict(record.progress),
        result=None if record.result is None else dict(record.result),
        error=None if record.error is None else dict(record.error),
        links={"self": f"/jobs/{record.id}"},
    )


def key(record: Key) -> operator_schemas.KeyOut:
    return operator_schemas.KeyOut(**record.as_json())
