"""What the demonstration found, a few lines per step: for who watches it run.

All of it is in the report; a line has the first hits only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from memory_service.demo.findings import Answer, Creation, Section, Swap

NOUN = {"image": "picture", "text": "text", "audio": "sound"}


def section_lines(section: Section) -> Iterator[str]:
    """Its title, then a line for each question, or one for all whose own episode is in memory."""
    yield f"{section.title}:"
    own: dict[str, list[int | None]] = {}
    for answer in section.answers:
        for modality in sorted(answer.own_in):
            own.setdefault(modality, []).append(answer.own_rank(modality))
        if not answer.own_in:
            yield f"  {answer.query.caption} → {_first(answer)}"
    for modality, ranks in own.items():
        first = sum(rank == 1 for rank in ranks)
        yield f"  own {NOUN[modality]} at first place: {first} of {len(ranks)}"


def _first(answer: Answer) -> str:
    """The best hit of each modality; one name where they are called the same."""
    named: dict[str, list[str]] = {}
    for modality, hits in answer.found.items():
        named.setdefault(hits[0].item.caption.rstrip("."), []).append(NOUN[modality])
    return "; ".join(f"{caption} ({' and '.join(kinds)})" for caption, kinds in named.items())


def creation_lines(creation: Creation) -> Iterator[str]:
    made = creation.made
    levels = [f"{each.creativity:g}" for each in made if each.item.modality == "image"]
    texts = [each.item.caption for each in made if each.item.modality == "text"]
    again = "the same, byte for byte" if creation.replayed else "NOT the same"
    yield f"  “{creation.text}” and the picture of {creation.picture.caption.rstrip('.')}"
    yield f"    → pictures at creativity {', '.join(levels)}; a sound; text: {' '.join(texts)}"
    yield f"    made again from its record: {again}"


def swap_line(swap: Swap) -> str:
    return f"  “{swap.text}” from {', '.join(panel.memory for panel in swap.panels)}"


def time_line(seconds: Mapping[str, float]) -> str:
    return "seconds: " + ", ".join(f"{step} {value:.1f}" for step, value in seconds.items())
