"""A card as HTML: one file, nothing in it runs, and nothing is loaded from anywhere."""

from __future__ import annotations

import base64
from importlib.resources import files

from markupsafe import Markup
from PIL import Image

from memory_service.card.content import Card, png
from memory_service.manifest import STATEMENT

# Only what is in the file: style sheets and data URIs.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; sandbox; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(card: Card) -> str:
    from jinja2 import Environment, StrictUndefined  # not at the start of every service

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["picture_uri"] = _picture_uri
    environment.filters["sound_uri"] = _sound_uri
    source = files("memory_service.card").joinpath("card.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(card=card, statement=STATEMENT)


def _picture_uri(picture: Image.Image) -> Markup:
    return _uri("image/png", png(picture))


def _sound_uri(content: bytes) -> Markup:
    return _uri("audio/wav", content)


def _uri(media_type: str, content: bytes) -> Markup:
    # Made of characters that need no escaping.
    return Markup(f"data:{media_type};base64,{base64.b64encode(content).decode()}")
