"""The report as one page of HTML: tables, plots, pictures and sounds inside; no scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from encoders.base import Waveform
from memory_service.services.evaluation import ladder_sections, sections
from memory_service.services.evaluation.blind import Blind
from memory_service.services.evaluation.blocks import Plot, Table
from memory_service.services.evaluation.samples import Sheet, Thing
from memory_service.services.rendering import render
from memory_service.spectrogram import spectrogram

SHEET_SOUND = (160, 60)  # pixels of a spectrogram


@dataclass(frozen=True)
class Tile:
    """One thing of a sheet. `picture`, `sound`: data URIs, or empty."""

    picture: Markup = field(default_factory=Markup)
    sound: Markup = field(default_factory=Markup)
    text: str = ""
    note: str = ""
    copied: bool = False


@dataclass(frozen=True)
class Shown:
    """A sample sheet, ready for the page."""

    task: str
    modality: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Tile, ...]], ...]


def render_page(figures: Mapping[str, Any], sheets: Sequence[Sheet], blind: Blind | None) -> str:
    """The whole page."""
    from jinja2 import Environment, StrictUndefined  # not at the start of every service

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["svg"] = lambda plot: uri("image/svg+xml", plot.svg)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["plot"] = lambda block: isinstance(block, Plot)
    source = files(__package__).joinpath("report.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        about=figures["about"],
        tiles=ladder_sections.tiles(figures),
        verdicts=sections.verdicts(figures),
        sections=sections.parts(figures),
        sheets=[shown(each) for each in sheets],
        blind=blind and {"sheet": uri("image/png", blind.sheet), "key": blind.key},
    )


def uri(media_type: str, content: bytes) -> Markup:
    # Made of characters that need no escaping.
    return Markup(f"data:{media_type};base64,{base64.b64encode(content).decode()}")


def shown(sheet: Sheet) -> Shown:
    rows = tuple(
        (asked, tuple(tile(sheet.modality, each) for each in made)) for asked, made in sheet.rows
    )
    return Shown(sheet.task, sheet.modality, sheet.columns, rows)


def tile(modality: str, thing: Thing) -> Tile:
    media = thing.media
    if modality == "text":
        return Tile(text=str(media), note=thing.note, copied=thing.copied)
    if modality == "image":
        picture, sound = uri("image/png", render("image", media)[1]), Markup()
    else:
        heard = Waveform(media.samples[: 4 * media.sample_rate], media.sample_rate)
        picture = uri("image/png", picture_of(heard))
        sound = uri("audio/wav", render("audio", heard)[1])
    return Tile(picture, sound, note=thing.note, copied=thing.copied)


def picture_of(sound: Waveform) -> bytes:
    """PNG of its spectrogram."""
    buffer = io.BytesIO()
    spectrogram(sound).resize(SHEET_SOUND).save(buffer, "PNG")
    return buffer.getvalue()
