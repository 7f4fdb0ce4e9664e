"""A card as one picture, to be shown where HTML is not."""

from __future__ import annotations

from PIL import Image, ImageDraw

from memory_service.card.content import Card, Output, Remembered, Shown, png
from memory_service.drawing import font, paragraph
from memory_service.manifest import STATEMENT

WIDTH, MARGIN, GAP = 1200, 40, 20
INK, QUIET, LINE, BOX = "#1c1b22", "#66636f", "#e2dfe8", "#f6f4f9"
WEIGHT, EFFECT, TRACK = "#7a5cc0", "#b4530a", "#eceaf1"
TILE, FACT = 210, 18
ROW, THUMBNAIL, BAR = 84, 72, 130
CAPTION_AT = MARGIN + 130
MOST_ROWS = 24
Draw = ImageDraw.ImageDraw


def draw(card: Card) -> bytes:
    """PNG, 1200 px wide and as high as it needs to be."""
    rows = card.memories[:MOST_ROWS]
    height = (
        370
        + _output_height(card)
        + ROW * len(rows)
        + 20 * (len(card.asked) + len(card.fingerprints))
    )
    sheet = Image.new("RGB", (WIDTH, height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, 30), "Generated from memory", INK, font(30))
    pen.text((MARGIN, 72), f"{STATEMENT} {card.date}", QUIET, font(15))
    y = _asked(pen, card, 104)
    y = _outputs(sheet, pen, card, y + GAP)
    y = _heads(pen, card, y + GAP)
    for memory in rows:
        _row(sheet, pen, card, memory, y)
        y += ROW
    y = _total(pen, card, y)
    y = _left_out(pen, len(card.memories) - len(rows) + card.more, y)
    y = _how(pen, card, y + GAP)
    return png(sheet.crop((0, 0, WIDTH, y + MARGIN // 2)))


def _asked(pen: Draw, card: Card, y: int) -> int:
    height = 20 + 32 * len(card.asked)
    pen.rounded_rectangle((MARGIN, y, WIDTH - MARGIN, y + height), 8, fill=BOX)
    for number, part in enumerate(card.asked):
        at = (MARGIN + 16, y + 12 + 32 * number)
        paragraph(pen, at, part, font(20), INK, WIDTH - 2 * MARGIN - 32, 1)
    return y + height


def _outputs(sheet: Image.Image, pen: Draw, card: Card, y: int) -> int:
    count, height = max(1, len(card.outputs)), _output_height(card)
    width = (WIDTH - 2 * MARGIN - GAP * (count - 1)) // count
    for number, output in enumerate(card.outputs):
        x = MARGIN + number * (width + GAP)
        pen.rounded_rectangle((x, y, x + width, y + height), 8, outline=LINE)
        _output(sheet, pen, output, (x, y), width)
    return y + height


def _output_height(card: Card) -> int:
    """Of the boxes of outputs, each as high as the one with most facts needs to be."""
    rows = max((len(output.facts) for output in card.outputs), default=0)
    return TILE + 24 + FACT * rows + 12


def _output(sheet: Image.Image, pen: Draw, output: Output, at: tuple[int, int], width: int) -> None:
    x, y = at
    inner = (x + 12, y + 12, width - 24, TILE)
    if output.shown.text is not None:
        paragraph(pen, inner[:2], output.shown.text, font(24), INK, inner[2], 6)
    else:
        _paste(sheet, pen, output.shown, inner, larger=True)
    below = y + TILE + 24
    for name, value in output.facts.items():
        pen.text((x + 12, below), name, QUIET, font(14))
        paragraph(pen, (x + 118, below), value, font(14), INK, width - 130, 1)
        below += FACT


def _paste(
    sheet: Image.Image,
    pen: Draw,
    shown: Shown,
    box: tuple[int, int, int, int],
    larger: bool = False,
) -> None:
    """Fitted into (x, y, width, height); a spectrogram fills it."""
    x, y, width, height = box
    pen.rectangle((x, y, x + width, y + height), fill=TRACK)
    if shown.picture is None:
        pen.text((x + 8, y + 8), shown.modality, QUIET, font(14))
        return
    picture = shown.picture
    if shown.modality == "audio":
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    else:
        scale = min(width / picture.width, height / picture.height)
        scale = scale if larger else min(scale, 1.0)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))


def _columns(card: Card) -> list[tuple[str, int]]:
    """(modality, left edge) of the bars of effects."""
    left = WIDTH - MARGIN - (BAR + 70) * len(card.explained)
    return [(each, left + (BAR + 70) * n) for n, each in enumerate(card.explained)]


def _weight_at(card: Card) -> int:
    return WIDTH - MARGIN - (BAR + 70) * (len(card.explained) + 1)


def _heads(pen: Draw, card: Card, y: int) -> int:
    pen.text((MARGIN, y), "from these memories", QUIET, font(15))
    pen.text((_weight_at(card), y), "weight", QUIET, font(15))
    for modality, x in _columns(card):
        pen.text((x, y), f"effect on {modality}", QUIET, font(15))
    return y + 28


def _row(sheet: Image.Image, pen: Draw, card: Card, memory: Remembered, y: int) -> None:
    pen.line((MARGIN, y - 4, WIDTH - MARGIN, y - 4), fill=LINE)
    share = memory.share
    if share.deleted or memory.shown.picture is None:
        pen.rectangle((MARGIN, y, MARGIN + 110, y + THUMBNAIL), fill=BOX)
        name = "forgotten" if share.deleted else share.modality
        pen.text((MARGIN + 10, y + 26), name, QUIET, font(15))
    else:
        _paste(sheet, pen, memory.shown, (MARGIN, y, 110, THUMBNAIL))
    width = _weight_at(card) - CAPTION_AT - GAP
    below = paragraph(pen, (CAPTION_AT, y + 8), memory.caption, font(17), INK, width, 2)
    note = f"{share.modality}, cosine {share.cosine:.2f}"
    pen.text((CAPTION_AT, below + 2), note, QUIET, font(14))
    _bar(pen, (_weight_at(card), y + 30), share.weight, f"{share.weight:.2f}", WEIGHT)
    for modality, x in _columns(card):
        if (effect := share.effects.get(modality)) is not None:
            _bar(pen, (x, y + 30), effect / card.scale, f"{effect:.3f}", EFFECT)


def _bar(pen: Draw, at: tuple[int, int], part: float, told: str, colour: str) -> None:
    x, y = at
    pen.rounded_rectangle((x, y, x + BAR, y + 10), 4, fill=TRACK)
    if part > 0.005:
        pen.rounded_rectangle(
            (x, y, x + max(4, round(BAR * min(part, 1.0))), y + 10), 4, fill=colour
        )
    pen.text((x + BAR + 8, y - 5), told, INK, font(15))


def _total(pen: Draw, card: Card, y: int) -> int:
    if not card.explained:
        return y
    pen.line((MARGIN, y - 4, WIDTH - MARGIN, y - 4), fill=LINE)
    pen.text((CAPTION_AT, y + 8), "without any memory", INK, font(17))
    effects = {each.record.modality: each.record.effect_of_all for each in card.outputs}
    for modality, x in _columns(card):
        if (effect := effects[modality]) is not None:
            _bar(pen, (x, y + 12), effect / card.scale, f"{effect:.3f}", EFFECT)
    return y + 40


def _left_out(pen: Draw, count: int, y: int) -> int:
    if not count:
        return y
    pen.text((MARGIN, y + 4), f"and {count} more of smaller weight", QUIET, font(15))
    return y + 28


def _how(pen: Draw, card: Card, y: int) -> int:
    pen.line((MARGIN, y - 8, WIDTH - MARGIN, y - 8), fill=LINE)
    told = " · ".join(f"{name} {value}" for name, value in card.settings.items())
    y = paragraph(pen, (MARGIN, y), told, font(15), INK, WIDTH - 2 * MARGIN, 2)
    lines = {"generation": card.record.id, **card.fingerprints}
    for name, value in lines.items():
        y = paragraph(pen, (MARGIN, y), f"{name}: {value}", font(13), QUIET, WIDTH - 2 * MARGIN, 1)
    return y
