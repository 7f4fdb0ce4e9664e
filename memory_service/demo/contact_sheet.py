"""Everything on one picture: each query on the left, what it found or made on the right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from PIL import Image, ImageDraw

from memory_service.demo.findings import Answer, Creation, Findings, FoundItem, Item, Swap
from memory_service.demo.pictures import thumbnail
from memory_service.drawing import font, paragraph

MARGIN, GAP = 40, 12
TILE, TILE_HEIGHT = 138, 104
LABEL_HEIGHT, CAPTION_HEIGHT = 22, 50
ROW_HEIGHT = LABEL_HEIGHT + TILE_HEIGHT + CAPTION_HEIGHT + 20
QUERY = 190
COLUMNS = 10
WIDTH = 2 * MARGIN + QUERY + 34 + COLUMNS * (TILE + GAP) - GAP
INK, QUIET, LINE = "#1c1b22", "#6d6a75", "#dddae3"
OWN, NEW = "#14804a", "#b4530a"
PAPER, BOX = "#ffffff", "#f5f3f8"
PLURAL = {"image": "pictures", "text": "texts", "audio": "sounds"}


@dataclass(frozen=True)
class Tile:
    item: Item
    caption: str
    note: str
    own: bool = False


def contact_sheet(findings: Findings) -> Image.Image:
    """An RGB picture, as high as it needs to be."""
    sheet = Image.new("RGB", (WIDTH, _height(findings)), PAPER)
    draw = ImageDraw.Draw(sheet)
    held = ", ".join(f"{count} {PLURAL[name]}" for name, count in findings.counts.items())
    draw.text((MARGIN, 30), "What the memory recalls and makes", INK, font(30))
    line = f"{findings.episodes} episodes of {findings.samples}: {held}. Green: the query's own "
    draw.text((MARGIN, 72), line + "episode; every other hit is by likeness.", QUIET, font(16))
    y = 112
    for section in findings.sections:
        y = _heading(draw, y, section.title, section.note)
        for answer in section.answers:
            _answer_row(sheet, draw, y, answer)
            y += ROW_HEIGHT
    if findings.creations:
        note = "Made from a text, a picture and what they recall. Left to right: the memories used "
        y = _heading(draw, y, "Generated", note + "and their weights; pictures, text and sound.")
        for creation in findings.creations:
            _creation_row(sheet, draw, y, creation)
            y += ROW_HEIGHT
    if findings.swaps:
        note = "The same text and seed, three memories; nothing is trained in between. Colour "
        note += f"follows it: {findings.colour_taken}."
        y = _heading(draw, y, "Memory swap", note)
        for swap in findings.swaps:
            _swap_row(sheet, draw, y, swap)
            y += ROW_HEIGHT
    return sheet


def _height(findings: Findings) -> int:
    rows = sum(len(section.answers) for section in findings.sections)
    rows += len(findings.creations) + len(findings.swaps)
    return 112 + (len(findings.sections) + 2) * 74 + rows * ROW_HEIGHT + 20


def _heading(draw: ImageDraw.ImageDraw, y: int, title: str, note: str) -> int:
    draw.line((MARGIN, y, WIDTH - MARGIN, y), fill=LINE, width=2)
    draw.text((MARGIN, y + 16), title, INK, font(22))
    left = MARGIN + draw.textlength(title, font(22)) + 18
    draw.text((left, y + 22), note, QUIET, font(15))
    return y + 62


def _answer_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int, answer: Answer) -> None:
    _query(sheet, draw, y, answer.query.caption, answer.query)
    if answer.unseen:
        at = (MARGIN, y + LABEL_HEIGHT + TILE_HEIGHT + 34)
        draw.text(at, "not seen in training", NEW, font(14))
    x = MARGIN + QUERY + 34
    for modality, hits in answer.found.items():
        draw.text((x, y), PLURAL[modality], QUIET, font(14))
        for hit in hits:
            _tile(sheet, draw, x, y, _found(hit))
            x += TILE + GAP


def _found(hit: FoundItem) -> Tile:
    return Tile(hit.item, _caption(hit.item), f"{hit.score:.2f} {hit.reached}", hit.own)


def _caption(item: Item) -> str:
    """A text is its own caption."""
    return "" if item.modality == "text" else item.caption


def _creation_row(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int, creation: Creation
) -> None:
    _query(sheet, draw, y, f"“{creation.text}” and this picture", creation.picture)
    tiles: list[tuple[str, Tile]] = [
        ("made from", Tile(source.item, _caption(source.item), f"weight {source.weight:.2f}"))
        for source in creation.sources[:4]
    ]
    order = sorted(
        creation.made, key=lambda made: ("image", "text", "audio").index(made.item.modality)
    )
    for made in order:
        kind = {"image": "imagined pictures", "text": "text", "audio": "sound"}[made.item.modality]
        if made.item.modality == "image" and made.creativity == 0:
            kind = "recalled picture"
        level = f"creativity {made.creativity:g}"
        novelty = "" if made.novelty is None else f"novelty {made.novelty:.2f}"
        tiles.append((kind, Tile(made.item, level, novelty)))
    _groups(sheet, draw, y, tiles)


def _swap_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int, swap: Swap) -> None:
    _query(sheet, draw, y, "", Item("text", swap.text.encode(), "text/plain", swap.text))
    tiles: list[tuple[str, Tile]] = []
    for panel in swap.panels:
        kind = f"memory: {panel.memory}"
        tiles.append((kind, Tile(panel.source, "remembered", "")))
        tiles += [
            (kind, Tile(made.item, f"creativity {made.creativity:g}", "")) for made in panel.made
        ]
    _groups(sheet, draw, y, tiles)


def _groups(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int, tiles: list[tuple[str, Tile]]
) -> None:
    """From left to right, the kind over the first of each."""
    x = MARGIN + QUERY + 34
    for kind, group in groupby(tiles, key=lambda tile: tile[0]):
        draw.text((x, y), kind, QUIET, font(14))
        for _, tile in group:
            _tile(sheet, draw, x, y, tile)
            x += TILE + GAP


def _query(sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int, caption: str, item: Item) -> None:
    top = y + LABEL_HEIGHT
    draw.rectangle((MARGIN - 8, top - 8, MARGIN + QUERY, top + TILE_HEIGHT + 8), fill=BOX)
    if item.modality == "text":
        text = f"“{item.caption}”"
        paragraph(draw, (MARGIN + 4, top + 6), text, font(19), INK, QUERY - 12, 4)
        return
    sheet.paste(thumbnail(item, QUERY - 8, TILE_HEIGHT), (MARGIN, top))
    paragraph(draw, (MARGIN, top + TILE_HEIGHT + 14), caption, font(15), INK, QUERY, 2)


def _tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, tile: Tile) -> None:
    top = y + LABEL_HEIGHT
    frame = (x - 1, top - 1, x + TILE, top + TILE_HEIGHT)
    if tile.item.modality == "text":
        draw.rectangle(frame, fill=BOX)
        words = tile.item.content.decode(errors="replace")
        paragraph(draw, (x + 8, top + 8), words, font(15), INK, TILE - 16, 5)
    else:
        sheet.paste(thumbnail(tile.item, TILE, TILE_HEIGHT), (x, top))
    draw.rectangle(frame, outline=OWN if tile.own else LINE, width=3 if tile.own else 1)
    below = top + TILE_HEIGHT + 5
    if tile.caption:
        below = paragraph(draw, (x, below), tile.caption, font(14), INK, TILE, 1)
    paragraph(draw, (x, below), tile.note, font(13), OWN if tile.own else QUIET, TILE, 1)
