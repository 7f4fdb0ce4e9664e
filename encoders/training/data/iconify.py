"""Icon sets of iconify: JSON files of SVG bodies by name, unpacked to one SVG file per icon."""

from __future__ import annotations

import json
from pathlib import Path

from encoders.training.data.packages import npm_folder


def icon_files(name: str, cache: Path) -> dict[str, Path]:
    """Icon name -> SVG file of the set `name`, without aliases and without what was withdrawn."""
    folder = cache / "iconify" / name
    icons = json.loads((npm_folder(f"@iconify-json/{name}", cache) / "icons.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for icon, entry in icons["icons"].items():
        if entry.get("hidden"):
            continue
        files[icon] = folder / f"{icon}.svg"
        if not files[icon].exists():
            left, top, width, height = (
                entry.get(key, icons.get(key, default))
                for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
            )
            files[icon].write_text(
                f'<svg xmlns="http://www.w3.org/2000/svg" '
                f'xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{left} {top} {width} {height}" color="black">{entry["body"]}</svg>'
            )
    return files
