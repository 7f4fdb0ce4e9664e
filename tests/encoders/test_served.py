"""The served runtime gives what torch gives, from the same weights, without torch."""

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from PIL import Image

from encoders.base import Encoder, Modality, Vectors, Waveform
from encoders.bundled import FOLDER, load, text_and_image
from encoders.errors import ModelUnavailable, UnknownName
from encoders.graphs import layout
from encoders.openclip import OpenClipModel
from encoders.picture import Preparation
from encoders.served import TOKENS, Tower, graph_path
from encoders.training.export_onnx import export
from encoders.word_pieces import WordPieces

STAMPS = Path(__file__).parents[2] / "samples" / "tuxpaint-stamps"
TOWERS = ("visual", "text", "audio")
# What the tokenizer, its cleaning and its truncation make a difference for.
TEXTS = ["", " ", "a", "Tom &amp; Jerry", "schÃ¶n", "naïve Ärzte 北京", "\u200bx\t\ny", "é" * 400]
LONG = " ".join(f"word{number}" for number in range(400))


@pytest.fixture(scope="module")
def served() -> dict[Modality, Encoder]:
    return {encoder.modality: encoder for encoder in load()[0]}


@pytest.fixture(scope="module")
def eager() -> dict[Modality, Encoder]:
    return {encoder.modality: encoder for encoder in load(runtime="torch")[0]}


@pytest.fixture(scope="module")
def model() -> OpenClipModel:
    return text_and_image()[0].model


def sound(path: Path) -> Waveform:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Waveform(samples.mean(axis=1), rate)


def picture(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        opened.load()
        return opened.copy()


@cache
def media() -> dict[Modality, list[Any]]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(STAMPS.rglob("*.txt"))[::5]]
    sounds = [sound(path) for path in sorted(STAMPS.rglob("*.ogg"))[::9]]
    joined = Waveform(np.concatenate([s.samples for s in sounds]), sounds[0].sample_rate)
    return {
        "image": [picture(path) for path in sorted(STAMPS.rglob("*.png"))[::9]],
        "text": [*texts, *TEXTS, LONG, " ".join(texts)],
        "audio": [*sounds, joined, Waveform(np.zeros(100, np.float32), 44_100)],
    }


def cosines(first: Vectors, second: Vectors) -> Vectors:
    return np.asarray((first * second).sum(axis=1))


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
def test_every_sample_has_the_vector_of_torch(
    served: dict[Modality, Encoder], eager: dict[Modality, Encoder], modality: Modality
) -> None:
    items = media()[modality]
    assert len(items) > 10
    expected = eager[modality].encode(items)
    for size in (1, 3, len(items)):
        parts = (items[start : start + size] for start in range(0, len(items), size))
        found = np.concatenate([served[modality].encode(part) for part in parts])
        assert cosines(found, expected).min() > 0.999
    shifted = cosines(np.roll(found, 1, axis=0), expected)
    assert shifted.mean() < 0.9  # the cosines above compare what differs


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
@pytest.mark.parametrize("size", [(224, 224), (300, 201), (97, 640), (3, 2), (2000, 1)])
def test_pixels_are_those_of_open_clip(
    model: OpenClipModel, mode: str, size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    picture = Image.fromarray(noise).convert(mode)
    pixels = Preparation.of(FOLDER).pixels(picture)
    np.testing.assert_allclose(pixels, model.preprocess(picture).numpy(), atol=1e-6)


def test_another_kind_of_resizing_is_refused(tmp_path: Path) -> None:
    config = json.loads((FOLDER / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["resize_mode"] = "squash"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="longest"):
        Preparation.of(tmp_path)


def test_word_pieces_are_those_of_open_clip(model: OpenClipModel) -> None:
    pieces = WordPieces(FOLDER)
    for batch in ([text] for text in [*TEXTS, LONG, "a cat &lt;3 &amp;amp;"]):
        np.testing.assert_array_equal(pieces(batch), model._tokens(batch).numpy())
    together = [*TEXTS, "a somewhat longer text"]
    np.testing.assert_array_equal(pieces(together), model._tokens(together).numpy())
    assert pieces([LONG]).shape == (1, 256)
    stepped = pieces(together, step=16)
    assert stepped.shape[1] % 16 == 0
    np.testing.assert_array_equal(stepped[:, : len(pieces(together)[0])], pieces(together))


def test_many_long_texts_keep_their_order(served: dict[Modality, Encoder]) -> None:
    texts = [f"{number} {'word ' * (5 * number)}" for number in range(40)]
    assert len(texts) * 200 > TOKENS
    singly = np.concatenate([served["text"].encode([text]) for text in texts])
    assert cosines(served["text"].encode(texts), singly).min() > 0.999


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
def test_concurrent_calls_give_what_single_ones_give(
    served: dict[Modality, Encoder], modality: Modality
) -> None:
    encoder, items = served[modality], media()[modality][:12]
    expected = encoder.encode(items)

    def shuffled(order: Sequence[int]) -> float:
        found = np.concatenate([encoder.encode([items[i]]) for i in order])
        return float(cosines(found, expected[list(order)]).min())

    orders = [np.random.default_rng(seed).permutation(len(items)).tolist() for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert min(pool.map(shuffled, orders)) > 0.9999


@pytest.mark.parametrize("name", TOWERS)
def test_the_graph_names_the_places_of_its_weights(name: str) -> None:
    """When this fails: python -m encoders.training.export_onnx"""
    weights = FOLDER / f"{name}.safetensors"
    layouts = json.loads((FOLDER.parent / "bundled.layouts.json").read_text())
    assert layouts[name] == layout(weights)
    content = weights.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    graph = onnx.load(graph_path(FOLDER, name), load_external_data=False).graph
    named = set()
    for tensor in graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        own = tensor.name.removesuffix(".f16")
        first, end = header[own]["data_offsets"]
        assert where["location"] == f"bundled/{weights.name}"
        assert int(where["offset"]) == 8 + size + first
        assert int(where["length"]) == end - first
        assert list(tensor.dims) == header[own]["shape"]
        named.add(own)
    unused = {key for key in header if key not in named and "num_batches_tracked" not in key}
    assert unused - {"__metadata__"} == set()


def test_graphs_are_small_and_no_part_of_the_fingerprint() -> None:
    paths = [graph_path(FOLDER, name) for name in TOWERS]
    assert sum(path.stat().st_size for path in paths) < 1_000_000
    assert all(path.parent != FOLDER for path in paths)


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bundled"
    folder.mkdir()
    for name in ("bundled.audio.onnx", "bundled.layouts.json"):
        (tmp_path / name).write_bytes((FOLDER.parent / name).read_bytes())
    header = b'{"weight":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}'
    content = struct.pack("<Q", len(header)) + header + b"\0\0"
    (folder / "audio.safetensors").write_bytes(content)
    with pytest.raises(ModelUnavailable, match="export_onnx"):
        Tower(folder, "audio")


def test_an_unknown_runtime_names_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="openvino, torch"):
        load(runtime="abacus")


@pytest.mark.slow
def test_the_committed_graphs_are_what_export_writes(tmp_path: Path) -> None:
    export(tmp_path)
    written = sorted(tmp_path.iterdir())
    assert len(written) == len(TOWERS) + 1
    for path in written:
        assert path.read_bytes() == (FOLDER.parent / path.name).read_bytes(), path.name


SERVICE = """
import sys
from pathlib import Path
from memory_service.api import create_app
from memory_service.bootstrap import build
from memory_service.records import QueryPart, Upload
from memory_service.settings import Settings

stem, folder = Path(sys.argv[1]), Path(sys.argv[2])
FOREIGN = ("torch", "torchvision", "open_clip", "transformers", "timm", "diffusers")
found = lambda: [name for name in FOREIGN if name in sys.modules]
kinds = {"image": "png", "text": "txt", "audio": "ogg"}
with build(Settings(data_dir=folder, threads=1)) as application:
    create_app(application)
    contents = {m: stem.with_suffix("." + e).read_bytes() for m, e in kinds.items()}
    application.memory.store([Upload(m, contents[m]) for m in kinds])
    parts = [QueryPart(modality=m, content=contents[m]) for m in kinds]
    for part in parts:
        retrieval = application.retriever.retrieve([part], modalities=list(kinds))
        assert all(len(hits) == 1 for hits in retrieval.hits.values()), retrieval
    assert not found(), found()
    application.generation.generate([parts[1]], outputs=["text"], seed=1)
    import torch
    assert torch.get_num_threads() == 1
    retrieval = application.retriever.retrieve(parts, modalities=list(kinds))
    assert all(len(hits) == 1 for hits in retrieval.hits.values()), retrieval
print("done")
"""


def test_the_service_needs_no_torch_until_it_generates(tmp_path: Path) -> None:
    stem = STAMPS / "animals/mammals/cats/tiger"
    command = [sys.executable, "-W", "ignore", "-c", SERVICE, str(stem), str(tmp_path / "data")]
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "CI": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "done", done.stderr
    assert not (home / "intel").exists()  # where OpenVINO's telemetry keeps its identifier


def test_openvino_is_taken_without_its_telemetry() -> None:
    root = Path(__file__).parents[2]
    folders = [root / name for name in ("encoders", "generator", "memory_service", "benchmarks")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    pattern = re.compile(r"^\s*(import openvino\b|from openvino\b)", re.MULTILINE)
    importers = [path.name for path in files if pattern.search(path.read_text())]
    assert importers == ["openvino_import.py"]
