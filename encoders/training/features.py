"""What the image tower's frozen first blocks make of every picture, cached on disk.

View 0 is the picture as the encoder sees it; views 1, 2, ... are augmented (flip, rotation, scale,
background, brightness) and exist for the train split only. The first blocks do not change in
training, so each view is computed once, by OpenVINO (same values, twice as fast as torch). The
later blocks are the `Tail`.

    python -m encoders.training.features --view 3     compute one view now, beside others
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance, ImageOps
from rich.progress import track
from torch import nn

from encoders.base import Vectors, normalize
from encoders.bundled import text_and_image
from encoders.openclip import OpenClipModel
from encoders.openvino_import import openvino
from encoders.picture import on_white
from encoders.training.data import Item, load_collection
from encoders.training.data.records import media_key

FROZEN_BLOCKS = 5  # of EfficientNet's seven
MAP_SHAPE = (112, 14, 14)  # of a picture of 224 px after them
BATCH = 16

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Frozen = Callable[[torch.Tensor], Floats]


class Tail(nn.Module):
    """The trunk's last blocks: maps (B, 112, 14, 14) -> features (B, 1280)."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.blocks = trunk.blocks[FROZEN_BLOCKS:]
        self.conv_head, self.bn2, self.pool = trunk.conv_head, trunk.bn2, trunk.global_pool

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.pool(self.bn2(self.conv_head(self.blocks(maps))))
        return features


@dataclass(frozen=True)
class Maps:
    """Maps of pictures: fp16 on disk, (N, 112, 14, 14) and row by item id for each group."""

    groups: dict[str, Halves]
    row: dict[str, int]

    def of(self, items: Sequence[Item]) -> torch.Tensor:
        """(B, 112, 14, 14)."""
        rows = np.stack([self.groups[group_of(item)][self.row[item.id]] for item in items])
        return torch.from_numpy(rows.astype(np.float32))


def group_of(item: Item) -> str:
    """Source and style: what is cached together, so that a new source leaves the others alone."""
    return f"{item.source}-{item.style}".strip("-")


def stem_of(trunk: Any) -> Frozen:
    """(B, 3, 224, 224) -> (B, 112, 14, 14)."""
    stem = nn.Sequential(trunk.conv_stem, trunk.bn1, *trunk.blocks[:FROZEN_BLOCKS])
    return frozen(stem, torch.zeros(1, 3, 224, 224))


def frozen(module: nn.Module, example: torch.Tensor) -> Frozen:
    """The module as it is now, for batches like `example`: by OpenVINO, on the processor."""
    here = copy.deepcopy(module).cpu().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenVINO follows modules by tracing
        converted = openvino.convert_model(here, example_input=example)
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    return lambda batch: np.asarray(compiled(batch.numpy())[0], np.float32)


def augmented(picture: Image.Image, seed: str, mirror: bool = True) -> Image.Image:
    """The picture turned, scaled and set on another page; the same for the same seed."""
    rng = random.Random(seed)
    picture = picture.convert("RGBA")
    if mirror and rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
    picture = picture.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    side = round(max(picture.size) * rng.uniform(0.95, 1.5))
    colour = (255, 255, 255) if rng.random() < 0.5 else tuple(rng.choices(range(256), k=3))
    page = Image.new("RGBA", (side, side), (*colour, 255))
    left, top = (rng.randint(*sorted((0, side - length))) for length in picture.size)
    layer = Image.new("RGBA", page.size)
    layer.paste(picture, (left, top))
    flat = Image.alpha_composite(page, layer).convert("RGB")
    flat = ImageEnhance.Brightness(flat).enhance(rng.uniform(0.8, 1.2))
    return ImageEnhance.Color(flat).enhance(rng.uniform(0.6, 1.3))


def view_of(item: Item, root: Path, view: int) -> Image.Image:
    with Image.open(root / item.path) as picture:
        picture.load()  # the file is closed before it is used
        if view == 0:
            return on_white(picture)
        return augmented(picture, f"{view}:{item.id}", mirror=not is_directed(item.caption))


def is_directed(caption: str) -> bool:
    """A mirrored "left arrow" is another thing."""
    return bool({"left", "right", "leftwards", "rightwards"} & set(caption.split()))


def cached(
    model: OpenClipModel, items: Sequence[Item], root: Path, views: Sequence[int], cache: Path
) -> list[Maps]:
    """Maps of each view. Computes and stores what is missing, resumably."""
    return [_view(model, items, root, view, cache) for view in views]


def _view(model: OpenClipModel, items: Sequence[Item], root: Path, view: int, cache: Path) -> Maps:
    wanted: dict[str, list[Item]] = {}
    row = {}
    for item in items:
        if view == 0 or item.split == "train":
            members = wanted.setdefault(group_of(item), [])
            row[item.id] = len(members)
            members.append(item)
    cache.mkdir(parents=True, exist_ok=True)
    groups = {
        group: _group(model, members, root, view, cache / f"{group}-{view}")
        for group, members in wanted.items()
    }
    return Maps(groups, row)


def _group(
    model: OpenClipModel, wanted: Sequence[Item], root: Path, view: int, place: Path
) -> Halves:
    files = " ".join(media_key(item, root) for item in wanted)
    mark = hashlib.sha256(files.encode()).hexdigest()[:12]
    path, progress = Path(f"{place}-{mark}.npy"), Path(f"{place}-{mark}.done")
    done = int(progress.read_text()) if progress.exists() else 0
    if not done:
        np.lib.format.open_memmap(path, "w+", np.float16, (len(wanted), *MAP_SHAPE))
    if done < len(wanted):
        values = np.load(path, mmap_mode="r+")
        stem = stem_of(model.visual.get_submodule("trunk"))
        starts = range(done, len(wanted), BATCH)
        for start in track(starts, description=f"view {view} of {place.name}"):
            pictures = [view_of(item, root, view) for item in wanted[start : start + BATCH]]
            pixels = torch.stack([model.preprocess(picture) for picture in pictures])
            values[start : start + BATCH] = stem(pixels)
            progress.write_text(str(min(start + BATCH, len(wanted))))
        values.flush()
    stored: Halves = np.load(path, mmap_mode="r")
    return stored


def features_of(tail: Tail, maps: Maps, items: Sequence[Item]) -> Floats:
    """(N, 1280)."""
    run = frozen(tail, torch.zeros(1, *MAP_SHAPE))
    batches = (items[start : start + BATCH] for start in range(0, len(items), BATCH))
    return np.concatenate([run(maps.of(batch)) for batch in batches])


def picture_vectors_from_cache(
    items: Sequence[Item], root: Path, cache: Path
) -> dict[str, Vectors]:
    """Item id -> (384,), unit length: the stored image tower on plain views, from cached maps.

    `items` is the whole collection's; only pictures are taken.
    """
    _, image = text_and_image()
    pictures = [item for item in items if item.modality == "image"]
    maps = cached(image.model, pictures, root, [0], cache)[0]
    tower = image.model.visual
    features = features_of(Tail(tower.get_submodule("trunk")), maps, pictures)
    with torch.inference_mode():
        rows = normalize(tower.get_submodule("head")(torch.from_numpy(features)).numpy())
    return dict(zip((item.id for item in pictures), rows, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--view", type=int, required=True)
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--cache", type=Path, default=Path("runs/encoders/features"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    items = [i for i in load_collection(arguments.collection) if i.modality == "image"]
    model = text_and_image()[1].model
    cached(model, items, arguments.collection, [arguments.view], arguments.cache)


if __name__ == "__main__":
    main()
