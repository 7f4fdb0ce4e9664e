"""A sheet for people: recalled and imagined pictures in random order, with numbers and without
names, and apart from it the key.

Whoever names what is on the sheet before reading the key says whether it can be recognised, which
no measure does. A concept is there once: what was recalled gives nothing away that was imagined.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from memory_service.drawing import font
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.ladder import Climb, Rung
from memory_service.services.evaluation.samples import memory_ids

OUTPUT = "text -> image"
KINDS = {"recalled": Rung("own", 0.0).name, "imagined": Rung("retrieved").name}
MOST = 10  # of each kind
COLUMNS = 5
SIDE_PX, GAP_PX, LABEL_PX = 160, 24, 26


@dataclass(frozen=True)
class Blind:
    """`sheet`: PNG. `key`: by number, from 1, what was asked for and how it was made."""

    sheet: bytes
    key: Sequence[dict[str, Any]]
    memory_ids: frozenset[str]  # of what is shown, or was made into what is shown


def blind(lab: Lab, climbs: Sequence[Climb]) -> Blind | None:
    """None where no pictures are made, or there are fewer than two."""
    climb = next((each for each in climbs if each.task.name == OUTPUT), None)
    if climb is None or len(climb.queries) < 2:
        return None
    random = lab.random()
    rows = random.permutation(len(climb.queries))
    each = min(MOST, len(rows) // 2)
    drawn = [("recalled", row) for row in rows[:each]]
    drawn += [("imagined", row) for row in rows[each : 2 * each]]
    drawn = [drawn[place] for place in random.permutation(len(drawn))]
    pictures, key, places = [], [], []
    for number, (kind, row) in enumerate(drawn, start=1):
        made = climb.made[KINDS[kind]]
        case = lab.cases.all[climb.queries[row]]
        pictures.append(made.media[row])
        places += [int(climb.queries[row]), *made.memories[row].tolist()]
        key.append(
            {
                "number": number,
                "asked": " ".join(case.words.split()),
                "kind": kind,
                "how": made.name,
                "unseen": case.unseen,
            }
        )
    return Blind(_sheet(pictures), key, memory_ids(lab, places))


def _sheet(pictures: Sequence[Image.Image]) -> bytes:
    cell = SIDE_PX + GAP_PX
    lines = -(-len(pictures) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * cell + GAP_PX, lines * (cell + LABEL_PX) + GAP_PX), "white")
    draw = ImageDraw.Draw(page)
    for number, picture in enumerate(pictures):
        x = GAP_PX + number % COLUMNS * cell
        y = GAP_PX + number // COLUMNS * (cell + LABEL_PX)
        draw.text((x, y), str(number + 1), "#66636f", font(18))
        shown = picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        page.paste(shown, (x, y + LABEL_PX))
        draw.rectangle(
            (x - 1, y + LABEL_PX - 1, x + SIDE_PX, y + LABEL_PX + SIDE_PX), outline="#e2dfe8"
        )
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
