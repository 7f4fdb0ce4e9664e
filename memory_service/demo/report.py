"""The HTML report: one file, pictures and sounds inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import io
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from memory_service.demo.findings import Findings, Item
from memory_service.demo.pictures import spectrogram

PLURAL = {"image": "Pictures", "text": "Texts", "audio": "Sounds"}


def report(findings: Findings) -> str:
    """The whole page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["data_uri"] = data_uri
    environment.filters["spectrogram_uri"] = spectrogram_uri
    source = files("memory_service.demo").joinpath("report.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(findings=findings, plural=PLURAL)


def data_uri(item: Item) -> Markup:
    return _uri(item.media_type, item.content)


def spectrogram_uri(item: Item) -> Markup:
    buffer = io.BytesIO()
    spectrogram(item.content).save(buffer, "PNG")
    return _uri("image/png", buffer.getvalue())


def _uri(media_type: str, content: bytes) -> Markup:
    # Made of characters that need no escaping.
    return Markup(f"data:{media_type};base64,{base64.b64encode(content).decode()}")
