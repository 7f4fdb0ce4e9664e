"""The findings of the demonstration as tables."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from memory_service.demo.findings import Findings

GLYPH = {"image": "picture", "text": "text", "audio": "sound"}


def recall_table(findings: Findings) -> Table:
    """One row per question and modality: the best hits, and where the query's own episode is."""
    table = Table("query", "finds", "best first", "own episode", "ms", title="recall")
    for section in findings.sections:
        table.add_row(f"[bold]{section.title}[/]")
        for answer in section.answers:
            for modality, hits in answer.found.items():
                best = ", ".join(f"{hit.item.caption} {hit.score:.2f}" for hit in hits[:3])
                new = " (not seen in training)" if answer.unseen else ""
                query = f"{GLYPH[answer.query.modality]}: {answer.query.caption}{new}"
                row = (escape(query), GLYPH[modality], escape(best), answer.own_place(modality))
                table.add_row(*row, f"{answer.elapsed_ms:.0f}")
        table.add_section()
    return table


def creation_table(findings: Findings) -> Table:
    table = Table(
        "query", "made", "creativity", "novelty", "file or text", "same again", title="generation"
    )
    for creation in findings.creations:
        for made in creation.made:
            novelty = "" if made.novelty is None else f"{made.novelty:.2f}"
            what = made.item.caption if made.item.modality == "text" else made.file
            table.add_row(
                escape(f"{creation.text} + picture: {creation.picture.caption}"),
                GLYPH[made.item.modality],
                f"{made.creativity:g}",
                novelty,
                escape(what),
                "yes" if creation.replayed else "no",
            )
        table.add_section()
    return table
