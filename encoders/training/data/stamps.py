"""Tux Paint stamps: drawings and photographs with a sentence, an effect and a spoken sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from encoders.training.data.drafts import Draft
from encoders.training.data.media import open_picture, save_picture, save_sound
from encoders.training.data.packages import debian_path

SOURCE = "stamps"
LICENCE = "GPL-2"
PACKAGE = "tuxpaint-stamps-default"
FOLDER = "/usr/share/tuxpaint/stamps"
SOUND_ENDINGS = (".ogg", ".wav")


@dataclass(frozen=True)
class Stamp:
    key: str  # path below the stamps' folder, without ending
    caption: str
    picture: Path
    effect: Path | None
    spoken: Path | None


def stamps(cache: Path) -> Iterator[Stamp]:
    root = debian_path(PACKAGE, FOLDER, cache)
    for text in sorted(root.rglob("*.txt")):
        stem = text.with_suffix("")
        picture = _existing(stem, "", (".png", ".svg"))
        lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
        if picture is None or not lines or not lines[0].strip():
            continue
        yield Stamp(
            key=stem.relative_to(root).as_posix(),
            caption=lines[0].strip(),
            picture=picture,
            effect=_existing(stem, "", SOUND_ENDINGS),
            spoken=_existing(stem, "_desc", SOUND_ENDINGS),
        )


def _existing(stem: Path, suffix: str, endings: tuple[str, ...]) -> Path | None:
    candidates = (stem.with_name(stem.name + suffix + ending) for ending in endings)
    return next((path for path in candidates if path.exists()), None)


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    for stamp in stamps(cache):
        base = f"stamps/{stamp.key}"
        folders = tuple(stamp.key.split("/")[:-1])
        picture = out / f"{base}.png"
        if not picture.exists():
            save_picture(open_picture(stamp.picture), picture)
        drawn = Draft(
            path=f"{base}.png",
            source=SOURCE,
            style="",
            modality="image",
            caption=stamp.caption,
            tags=folders,
            episode=base,
            licence=LICENCE,
        )
        yield drawn
        for style, sound in (("effect", stamp.effect), ("spoken", stamp.spoken)):
            target = out / f"{base}.{style}.flac"
            if sound is not None and (target.exists() or save_sound(sound, target)):
                yield replace(drawn, path=f"{base}.{style}.flac", modality="audio", style=style)
