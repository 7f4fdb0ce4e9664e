"""Answers of the service as rich tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from memory_service.client import Episode, Generation, Hit, Memory, Retrieval, Segment
from memory_service.importer import Scan, Tally


def describe(memory: Memory) -> str:
    """What a person can tell a memory by: its text, else where it came from, else its type."""
    if memory.text is not None:
        text = " ".join(memory.text.split())
        return text if len(text) <= 60 else text[:59] + "…"
    return str(memory.metadata.get("path") or f"{memory.media_type}, {memory.size_bytes:,} bytes")


def reached(hit: Hit) -> str:
    ways = [f"via {way.via_modality}" if way.via else way.path for way in hit.reached_by]
    return ", ".join(dict.fromkeys(ways))


def clock(segment: Segment) -> str:
    """`1:02:03-1:02:05`: from when to when, in hours, minutes and seconds."""

    def told(time_s: float) -> str:
        minutes, seconds = divmod(int(time_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    return f"{told(segment.start_s)}-{told(segment.end_s)}"


def episode_table(episode: Episode, title: str) -> Table:
    table = Table("modality", "what", "bytes", title=f"{title} {episode.id}")
    table.add_column("memory", no_wrap=True, min_width=36)
    for memory in episode.memories:
        size = f"{memory.size_bytes:,}"
        table.add_row(memory.modality, escape(describe(memory)), size, memory.id)
    return table


def retrieval_table(retrieval: Retrieval) -> Table:
    """Without ids, which would leave no room for what was found: --json has them."""
    table = Table("modality", "#", "score", "cosine", "reached", "what")
    for modality, hits in retrieval.hits.items():
        for rank, hit in enumerate(hits, start=1):
            cosine = "" if hit.cosine is None else f"{hit.cosine:.3f}"
            what = escape(describe(hit.memory))
            if hit.segment is not None:
                what += f" at {clock(hit.segment)}"
            table.add_row(modality, str(rank), f"{hit.score:.2f}", cosine, reached(hit), what)
        table.add_section()
    return table


def generation_tables(generation: Generation, files: Mapping[str, str]) -> tuple[Table, Table]:
    """Outputs with the files they were written to (by output id), and what they were made from."""
    title = f"generation {generation.id}, seed {generation.seed}"
    made = Table("output", Column("file", overflow="fold"), "text", "novelty", title=title)
    for output in generation.outputs:
        novelty = "" if output.novelty is None else f"{output.novelty:.2f}"
        made.add_row(output.modality, files.get(output.id, ""), escape(output.text or ""), novelty)
    explained = any(share.effects for share in generation.memories)
    source = Table("modality", "weight", "cosine", "part", title="made from")
    for modality in [output.modality for output in generation.outputs if explained]:
        source.add_column(f"effect on {modality}")
    source.add_column("memory", no_wrap=True, min_width=36)
    for share in generation.memories:
        part = "" if share.segment is None else clock(share.segment)
        figures = f"{share.weight:.3f}", f"{share.cosine:.3f}"
        effects = [
            f"{share.effects[output.modality]:.3f}" if output.modality in share.effects else ""
            for output in generation.outputs
            if explained
        ]
        source.add_row(share.modality, *figures, part, *effects, share.memory_id)
    return made, source


def generations_table(generations: Sequence[Generation]) -> Table:
    """Without seed and namespace, which would leave no room for what was asked: --json has them."""
    table = Table()
    table.add_column("made", no_wrap=True, min_width=16)
    table.add_column("what", overflow="fold")
    table.add_column("generation", no_wrap=True, min_width=36)
    for each in generations:
        made = each.created_at
        when = "" if made is None else f"{datetime.fromtimestamp(made):%Y-%m-%d %H:%M}"
        query = ", ".join(
            part.get("text") or part.get("modality") or "vector" for part in each.query
        )
        outputs = ", ".join(output.modality for output in each.outputs)
        table.add_row(when, escape(f"{outputs}: {query}"), each.id)
    return table


def import_table(scan: Scan, tally: Tally) -> Table:
    table = Table("", "count", title="import", show_header=False)
    for status in ("stored", "duplicate", "rejected"):
        table.add_row(f"episodes {status}", str(tally.counts[status]))
    table.add_row("files ignored by their name", str(len(scan.ignored)))
    for modality, count in sorted(tally.memories.items()):
        table.add_row(f"new {modality} memories", str(count))
    return table


def mapping_table(values: Mapping[str, Any], title: str) -> Table:
    table = Table("", "", title=title, show_header=False)
    for name, value in values.items():
        table.add_row(name, escape(_cell(value)))
    return table


def rows_table(rows: list[Mapping[str, Any]], title: str) -> Table:
    """Mappings with the same keys as one table."""
    table = Table(title=title)
    for key in rows[0]:
        table.add_column(str(key), overflow="fold")  # rather than cut off
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
