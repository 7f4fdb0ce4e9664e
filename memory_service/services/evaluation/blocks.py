"""What a page, a terminal and a document are made of: numbers as words, cells, tables, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
NAMES = {
    "what": "",
    "recall_at_1": "R@1",
    "recall_at_10": "R@10",
    "cosine": "cosine",
    "judge_recall_at_10": "R@10, by form",
    "meaning_recall_at_10": "R@10, by meaning",
    "novelty": "novelty",
    "media_novelty": "novelty as media",
    "novel": "no copy",
    "quoted": "quoted",
    "cider": "CIDEr",
    "ssim": "SSIM",
    "psnr_db": "PSNR dB",
    "log_mel": "log-mel distance",
    "mse": "MSE",
    "snr_db": "SNR dB",
    "judge_cosine": "cosine, by form",
    "meaning_cosine": "cosine, by meaning",
    "to_memory": "to memory",
    "to_shown": "to memory as shown",
    "kid": "KID",
    "meaning_kid": "KID, by meaning",
    "mmd": "MMD",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "swap_share": "share taken",
    "ms": "ms",
}
KINDS = {"image": "Pictures", "audio": "Sounds", "text": "Texts"}


@dataclass(frozen=True)
class Cell:
    """`note` is smaller, below `value`; `mark`: a class of the page's style."""

    value: str
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """`groups`: (name, how many of the columns stand below it), where columns have such a head."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    strong: frozenset[int] = frozenset()  # rows that matter most
    words: int = 1  # columns, from the first, that hold words
    groups: Sequence[tuple[str, int]] = ()
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    svg: bytes
    title: str


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    note: str
    blocks: Sequence[Table | Plot] = field(default_factory=tuple)


def number(value: float) -> str:
    """Two to three digits that count."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 10:
        return f"{value:.0f}" if size >= 100 else f"{value:.1f}"
    return f"{value:.3f}" if size >= 0.001 else f"{value:.1g}"


def short(value: float) -> str:
    """Two decimals at most: of an interval, more would say nothing."""
    size = abs(value)
    if size < 0.005:
        return "0"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def interval(value: Json) -> str:
    return f"{short(value['low'])} to {short(value['high'])}"


def cell(value: Any) -> Cell:
    """Of a mean with its interval, of one with a deviation, of a number, or of words."""
    if value is None:
        return Cell("-")
    if isinstance(value, Mapping):
        if "sd" in value:
            return Cell(number(value["mean"]), f"± {short(value['sd'])}")
        return Cell(number(value["mean"]), interval(value))
    if isinstance(value, float):
        return Cell(number(value))
    return Cell(str(value))


def unseen_of(value: Any) -> Json | None:
    """Of a summary, that of the concepts that no training saw."""
    found = value.get("unseen") if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else None


def rows_of(
    rows: Sequence[Json],
    columns: Sequence[str],
    strong: Sequence[str] = (),
    words: int = 1,
    caption: str = "",
) -> Table:
    """Columns that no row has are left out; where there are figures of unseen concepts, they stand
    in a column beside those of all. The last column is of how many queries the figures are."""
    there = [name for name in columns if any(name in row for row in rows)]
    split = [name for name in there if any(unseen_of(row.get(name)) for row in rows)]
    names: list[str] = []
    groups: list[tuple[str, int]] = []
    for name in there:
        title = NAMES.get(name, name.replace("_", " "))
        groups.append((title, 2) if name in split else ("" if split else title, 1))
        names += ["all", "unseen"] if name in split else [title]
    made = []
    for row in rows:
        cells: list[Cell] = []
        for name in there:
            cells.append(cell(row.get(name)))
            if name in split:
                cells.append(cell(unseen_of(row.get(name))))
        made.append([*cells, *_counted(row, there)])
    counts = any(_counted(row, there) for row in rows)
    if counts:
        names.append("n")
        groups.append(("", 1))
        made = [[*r, Cell("-")] if len(r) < len(names) else r for r in made]
    return Table(
        names,
        made,
        frozenset(n for n, row in enumerate(rows) if row.get("what") in strong),
        words,
        groups if split else (),
        caption,
    )


def _counted(row: Json, columns: Sequence[str]) -> list[Cell]:
    """Of how many: those of all, and of the unseen ones."""
    values = [row[name] for name in columns if isinstance(row.get(name), Mapping)]
    counts = sorted({value["n"] for value in values if "n" in value})
    few = sorted({u["n"] for value in values if (u := unseen_of(value)) is not None})
    if not counts:
        return []
    return [Cell(_span(counts), f"{_span(few)} unseen" if few else "")]


def _span(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
