"""GCompris' photographs, drawings and recordings: an independent set that is never trained on.

Its files lie in Qt resource archives (.rcc): a tree of names and offsets, then the files, each
after its length. What a file shows is told by its name.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from encoders.training.data.drafts import Draft
from encoders.training.data.media import open_picture, save_picture, save_sound
from encoders.training.data.packages import debian_path

SOURCE = "gcompris"
PACKAGE = "gcompris-qt-data"
FOLDER = "/usr/share/gcompris-qt/rcc"
LICENCE = "AGPL-3.0-or-later and Creative Commons, see its copyright file"
PER_CONCEPT = 3  # of 28 fishes and 15 windmills as many as this
# Archive -> style of what is taken from it.
PICTURES = {
    "categorization": "photograph",
    "explore_farm_animals": "photograph",
    "explore_world_animals": "photograph",
    "explore_monuments": "photograph",
    "lang": "drawing",
}
SOUNDS = ("explore_farm_animals", "instruments", "memory-sound")
# Files whose names do not say what is seen, or are not photographs of one thing.
SKIPPED = {
    "monument 1", "monument 2", "monument 3", "alphabet", "number", "dragon", "solar 1", "solar 2",
    "solar 3", "zimni palace", "le musee", "juche tower", "question",
}  # fmt: skip
RENAMED = {
    "bulb": "light bulb",
    "burj": "burj khalifa tower",
    "empire state": "empire state building",
    "opera house": "sydney opera house",
    "solar": "solar panel",
    "spray": "spray bottle",
    "blackslate": "blackboard",
    "buffetset": "knife, fork and spoon",
    "bayterek": "bayterek tower",
    "burj khalifa": "skyscraper",
    "chickens": "chicken",
    "flute traversiere": "flute",
    "kutub minar": "qutub minar tower",
    "qutub minar": "qutub minar tower",
    "parthenon": "parthenon, a greek temple",
    "horn": "french horn",
}
HEARD = {
    "LRHeart_beat_01_LA": "heartbeat",
    "LRBark_1_LA_cut": "dog barking",
    "LRBark_3_LA_cut": "dog barking",
    "LRBuddhist_gong_05_LA": "gong",
    "LRObject_falling_01_LA": "object falling",
    "LRDoor_Open_2_LA": "door opening",
    "LRApplauses_1_LA_cut": "applause",
    "LRRain_in_garden_01_LA_cut": "rain",
    "LRStartAndStopCarEngine1LACut": "car engine",
    "LRFrogsInPondDuringStormLACut": "frogs in a pond during a storm",
    "LRTrain_slowing_down_01_LA_cut": "train slowing down",
    "LRFactory_noise_01_LA": "factory noise",
    "LRFireballs_01_LA": "fireballs",
    "guitar_melody": "guitar melody",
}


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    root = debian_path(PACKAGE, FOLDER, cache)
    for archive, style in PICTURES.items():
        shown: Counter[str] = Counter()
        for name, content in sorted(files_of(root / f"{archive}.rcc")):
            words = words_of(name)
            caption = RENAMED.get(without_number(words), without_number(words))
            if not name.endswith(".webp") or {words, caption} & SKIPPED:
                continue
            shown[caption] += 1
            target = out / SOURCE / archive / Path(name).with_suffix(".png").name
            if shown[caption] <= PER_CONCEPT:
                if not target.exists():
                    save_picture(open_picture(_written(content, name, cache)), target)
                yield _draft(target, out, style, "image", caption)
    for archive in SOUNDS:
        for name, content in sorted(files_of(root / f"{archive}.rcc")):
            stem = Path(name).stem
            caption = HEARD.get(stem, "") if archive == "memory-sound" else words_of(name)
            caption = RENAMED.get(caption, caption)
            target = out / SOURCE / archive / f"{stem}.flac"
            if not name.endswith(".ogg") or not caption:
                continue
            if target.exists() or save_sound(_written(content, name, cache), target):
                yield _draft(target, out, "recording", "audio", caption)


def _draft(target: Path, out: Path, style: str, modality: str, caption: str) -> Draft:
    path = target.relative_to(out).as_posix()
    return Draft(
        path=path,
        source=SOURCE,
        style=style,
        modality="image" if modality == "image" else "audio",
        caption=caption,
        tags=(),
        episode=path,
        licence=LICENCE,
        independent=True,
    )


def _written(content: bytes, name: str, cache: Path) -> Path:
    target = cache / SOURCE / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def words_of(name: str) -> str:
    """`a/measuringTape1.webp` -> measuring tape 1."""
    stem = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", Path(name).stem)
    return " ".join(re.split(r"[\s_-]+", stem)).lower()


def without_number(words: str) -> str:
    return re.sub(r"\s*\d+$", "", words)


def files_of(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Path within the archive, and content, of each file that is stored as it is."""
    data = archive.read_bytes()
    magic, version, tree, contents, names = struct.unpack_from(">4sIIII", data)
    if magic != b"qres":
        raise RuntimeError(f"{archive} is no Qt resource archive")
    node_bytes = 14 if version < 2 else 22

    def walk(node: int, parents: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        at = tree + node * node_bytes
        name_at, flags = struct.unpack_from(">IH", data, at)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        start = names + name_at + 6  # behind the length and a hash
        path = (*parents, data[start : start + 2 * length].decode("utf-16-be")) if node else ()
        if flags & DIRECTORY:
            count, first = struct.unpack_from(">II", data, at + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
        elif not flags & COMPRESSED:  # media never are
            (offset,) = struct.unpack_from(">I", data, at + 10)
            (size,) = struct.unpack_from(">I", data, contents + offset)
            begin = contents + offset + 4
            yield "/".join(path), data[begin : begin + size]

    return walk(0, ())


COMPRESSED, DIRECTORY = 1 | 4, 2
