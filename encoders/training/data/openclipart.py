"""openclipart-png: public-domain clip art, its title and folders as text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from encoders.training.data.drafts import Draft
from encoders.training.data.media import open_picture, save_picture
from encoders.training.data.packages import debian_path

SOURCE = "openclipart"
LICENCE = "CC0-1.0"
PACKAGE = "openclipart-png"
FOLDER = "/usr/share/openclipart/png"
MAX_ITEMS = 5000
# Folders whose titles say little about what is seen.
SKIPPED = ("signs_and_symbols/flags", "buttons", "unsorted", "logos", "special")
# Hundreds of generated star polygons, named by their angles.
_POLYGON = re.compile(r"\d+pt_?\d+step")
_NOISE = re.compile(r"\b(?:\d+|v\d+|arch\w*|architett\w*|clip|art|icon|vector|svg|png|\w)\b")


def title_of(path: Path) -> str:
    """Words of the file name without numbers and the author's mark at its end."""
    words = path.stem.replace("-", "_").split("_")
    text = " ".join(word for word in words if word)
    return " ".join(_NOISE.sub(" ", text.lower()).split())


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    root = debian_path(PACKAGE, FOLDER, cache)
    seen_titles: dict[str, int] = {}
    seen_pictures: dict[int, str] = {}  # perceptual hash -> concept of the first that bore it
    count = 0
    # By hash, so that the limit takes its share of every folder.
    for path in sorted(root.rglob("*.png"), key=lambda path: shuffled(path.relative_to(root))):
        key = path.relative_to(root).with_suffix("").as_posix()
        title = title_of(path)
        if key.startswith(SKIPPED) or len(title) < 3 or _POLYGON.search(key):
            continue
        if count >= MAX_ITEMS:
            return
        # A second drawing of a title is worth having; a fifth is not.
        seen_titles[title] = seen_titles.get(title, 0) + 1
        if seen_titles[title] > 2:
            continue
        target = out / f"{SOURCE}/{key}.png"
        if not target.exists():
            try:
                save_picture(open_picture(path), target)
            except (OSError, Image.DecompressionBombError):
                continue
        count += 1
        folders = tuple(part.replace("_", " ") for part in key.split("/")[:-1])
        yield Draft(
            path=f"{SOURCE}/{key}.png",
            source=SOURCE,
            style="",
            modality="image",
            caption=title,
            tags=folders,
            episode=f"{SOURCE}/{key}",
            licence=LICENCE,
            concept_hint=_same_picture(seen_pictures, difference_hash(target), title),
        )


def _same_picture(seen: dict[int, str], mark: int, title: str) -> str:
    """The title that the first of equal pictures had. Flat drawings share a mark by chance."""
    telling = 8 <= mark.bit_count() <= 56
    return seen.setdefault(mark, title) if telling else title


def shuffled(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode()).hexdigest()


def difference_hash(path: Path) -> int:
    """64-bit dHash: near-equal drawings share it, so that they share a concept and a split."""
    with Image.open(path) as image:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        grey = white.convert("L").resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = (grey[9 * y + x] > grey[9 * y + x + 1] for y in range(8) for x in range(8))
    return sum(1 << position for position, bit in enumerate(bits) if bit)
