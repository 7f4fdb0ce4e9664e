"""Builds the collection: every source's drafts, then concepts, splits, manifest and summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import track
from rich.table import Table

from encoders.training.data import (
    emoji,
    gcompris,
    icons,
    midi,
    openclipart,
    people,
    sonic_pi,
    speech,
    stamps,
)
from encoders.training.data.drafts import Draft
from encoders.training.data.records import (
    SUMMARY,
    Item,
    Split,
    concept_of,
    split_of,
    write_manifest,
)

Source = Callable[[Path, Path], Iterator[Draft]]

# Order matters once: `speech` says the concepts of the pictures before it.
SOURCES: dict[str, Source] = {
    "stamps": stamps.drafts,
    "emoji": emoji.drafts,
    "openclipart": openclipart.drafts,
    "icons": icons.drafts,
    "gcompris": gcompris.drafts,
    "sonic-pi": sonic_pi.drafts,
    "midi": midi.drafts,
    "speech": speech.drafts,
    "people": people.drafts,
}


def build(out: Path, sources: list[str], seed: int, cache: Path) -> list[Item]:
    """Write `out`; existing media files are kept, so an interrupted build goes on."""
    out.mkdir(parents=True, exist_ok=True)
    items: list[Item] = []
    for name in sources:
        drafts = track(SOURCES[name](out, cache), description=f"{name:12}", total=None)
        items += [to_item(draft, seed) for draft in drafts]
        # Pictures can be trained on while sounds are still being made.
        write_manifest(out, items)
    summarise(items, out)
    return items


def to_item(draft: Draft, seed: int) -> Item:
    concept = concept_of(draft.concept_hint or draft.caption)
    return Item(
        id=draft.path,
        source=draft.source,
        style=draft.style,
        concept=concept,
        split="independent" if draft.independent else split_of(concept, seed),
        modality=draft.modality,
        path=draft.path,
        caption=draft.caption,
        tags=draft.tags,
        episode=draft.episode,
        licence=draft.licence,
    )


def summarise(items: list[Item], out: Path) -> None:
    counts = Counter((item.source, item.style, item.modality, item.split) for item in items)
    groups = sorted({key[:3] for key in counts})
    splits = get_args(Split)
    table = Table("source", "style", "modality", *splits)
    summary = []
    for group in groups:
        row = {split: counts[*group, split] for split in splits}
        table.add_row(*group, *map(str, row.values()))
        summary.append(dict(zip(("source", "style", "modality"), group, strict=True)) | row)
    (out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
    Console().print(table)
