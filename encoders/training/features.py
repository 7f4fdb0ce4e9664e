"""Features of the frozen image trunk for every picture of the collection, cached on disk.

View 0 is the picture as the encoder sees it; views 1, 2, ... are augmented (flip, rotation, scale,
background, brightness) and exist for the train split only. The trunk does not change in training,
so each view is computed once: about 40 pictures/s on one core with OpenVINO, which is used when it
is installed, else 25/s in torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance, ImageOps

from encoders.base import Vectors, normalize
from encoders.bundled import text_and_image
from encoders.openclip import OpenClipModel, on_white
from encoders.training.data import Item

FEATURES = 1280
BATCH = 16
SAVE_EVERY = 1024  # pictures

Halves = npt.NDArray[np.float16]
Trunk = Callable[[torch.Tensor], npt.NDArray[np.float32]]


def trunk_of(model: OpenClipModel) -> Trunk:
    """(B, 3, 224, 224) -> (B, 1280), by OpenVINO when there is one (same values, twice as fast)."""
    trunk = model.visual.get_submodule("trunk")
    if find_spec("openvino") is None:

        def in_torch(pixels: torch.Tensor) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(trunk(pixels).numpy(), np.float32)

        return in_torch
    openvino = import_module("openvino")
    converted = openvino.convert_model(trunk, example_input=torch.zeros(1, 3, 224, 224))
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    return lambda pixels: np.asarray(compiled(pixels.numpy())[0], np.float32)


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
        if view == 0:
            return on_white(picture)
        # A mirrored "left arrow" is another thing.
        mirror = not {"left", "right", "leftwards", "rightwards"} & set(item.caption.split())
        return augmented(picture, f"{view}:{item.id}", mirror)


def compute(
    model: OpenClipModel, trunk: Trunk, items: Sequence[Item], root: Path, view: int
) -> Halves:
    """(N, 1280) of one view of the items' pictures."""
    rows = []
    for start in range(0, len(items), BATCH):
        pictures = [view_of(item, root, view) for item in items[start : start + BATCH]]
        rows.append(trunk(torch.stack([model.preprocess(p) for p in pictures])))
    return np.concatenate(rows).astype(np.float16)


def cached(
    model: OpenClipModel, items: Sequence[Item], root: Path, views: int, cache: Path
) -> list[dict[str, npt.NDArray[np.float32]]]:
    """Per view: item id -> features (1280,). Computes and stores what is missing, resumably."""
    cache.mkdir(parents=True, exist_ok=True)
    trunk: Trunk | None = None
    found = []
    for view in range(views + 1):
        wanted = [item for item in items if view == 0 or item.split == "train"]
        path = cache / f"image-view{view}.npz"
        known = _read(path)
        missing = [item for item in wanted if item.id not in known]
        for start in range(0, len(missing), SAVE_EVERY):
            trunk = trunk or trunk_of(model)
            chunk = missing[start : start + SAVE_EVERY]
            print(f"view {view}: {start} of {len(missing)} missing pictures", flush=True)
            features = compute(model, trunk, chunk, root, view)
            known.update(zip((item.id for item in chunk), features, strict=True))
            _write(path, known)
        found.append({item.id: known[item.id].astype(np.float32) for item in wanted})
    return found


def _read(path: Path) -> dict[str, Halves]:
    if not path.exists():
        return {}
    stored = np.load(path)
    return dict(zip(stored["ids"].tolist(), stored["features"], strict=True))


def _write(path: Path, known: dict[str, Halves]) -> None:
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, ids=np.array(list(known)), features=np.stack(list(known.values())))
    partial.rename(path)


def picture_vectors_from_cache(items: Sequence[Item], root: Path, cache: Path) -> Vectors:
    """(N, 384), unit length: the stored image tower on plain views, from cached features."""
    _, image = text_and_image()
    plain = cached(image.model, items, root, 0, cache)[0]
    head = image.model.visual.get_submodule("head")
    with torch.inference_mode():
        rows = head(torch.from_numpy(np.stack([plain[item.id] for item in items])))
    return normalize(rows.numpy())
