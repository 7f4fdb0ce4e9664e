"""Emoji in seven styles, with names and tags from emojibase. No skin tones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encoders.training.data.drafts import Draft
from encoders.training.data.iconify import icon_files
from encoders.training.data.media import open_picture, save_picture
from encoders.training.data.packages import npm_folder

SOURCE = "emoji"
SIDE_PX = 128
LICENCES = {
    "google": "Apache-2.0",
    "twemoji": "CC-BY-4.0",
    "openmoji": "CC-BY-SA-4.0",
    "fluent": "MIT",
    "emojione": "CC-BY-4.0",
    "noto-v1": "Apache-2.0",
    "fxemoji": "Apache-2.0",
}
# Never trained on, so that recall can be told for a style that is new.
HELD_OUT_STYLE = "fxemoji"


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    names = json.loads((npm_folder("emojibase-data", cache) / "en/data.json").read_text("utf-8"))
    named = [entry for entry in names if "group" in entry]
    for style in LICENCES:
        by_name = _by_name(style, cache)
        for entry in named:
            source = by_name.get(_letters(entry["label"])) or _picture(style, entry, cache)
            if source is None:
                continue
            path = f"{SOURCE}/{style}/{entry['hexcode'].lower()}.png"
            if not (out / path).exists():
                save_picture(open_picture(source, SIDE_PX), out / path, SIDE_PX)
            yield Draft(
                path=path,
                source=SOURCE,
                style=style,
                modality="image",
                caption=entry["label"],
                tags=tuple(entry.get("tags", ())),
                episode=f"{SOURCE}/{entry['hexcode'].lower()}",
                licence=LICENCES[style],
                # The man, woman and person of one activity are one concept.
                concept_hint=_without_person(entry["label"]),
                independent=style == HELD_OUT_STYLE,
            )


def _without_person(label: str) -> str:
    head, _, rest = label.partition(" ")
    return rest if rest and head in {"man", "woman", "person", "men", "women", "people"} else label


def _by_name(style: str, cache: Path) -> dict[str, Path]:
    """Pictures of the styles that come as iconify's sets, by the letters of their names."""
    if style not in ("emojione", "noto-v1", "fxemoji"):
        return {}
    return {_letters(name): path for name, path in icon_files(style, cache).items()}


def _letters(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.lower())


def _picture(style: str, entry: dict[str, Any], cache: Path) -> Path | None:
    code = entry["hexcode"].lower()
    short = code.replace("-fe0f", "")
    match style:
        case "google":
            folder = npm_folder("emoji-datasource-google", cache) / "img/google/64"
            candidates = [folder / f"{code}.png", folder / f"{short}.png"]
            candidates.append(folder / f"{short}-fe0f.png")
        case "twemoji":
            folder = npm_folder("@twemoji/svg", cache)
            candidates = [folder / f"{code}.svg", folder / f"{short}.svg"]
        case "openmoji":
            folder = npm_folder("openmoji", cache) / "color/svg"
            candidates = [folder / f"{code.upper()}.svg", folder / f"{short.upper()}.svg"]
        case "fluent":
            folder = npm_folder("fluentui-emoji", cache) / "icons/modern"
            slug = entry["label"].lower().replace(":", "").replace(",", "").replace(" ", "-")
            candidates = [folder / f"{slug}.svg"]
        case _:
            candidates = []
    return next((path for path in candidates if path.exists()), None)
