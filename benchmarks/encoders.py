"""`make bench-encoders`: what the served runtime gains over torch, and what a service weighs.

Throughput: `encode` of profile `bundled` by OpenVINO and by eager torch in fp32, preparation of the
media included, on one core, in turns; medians. Service: seconds from the start of the process to
the first good answer of /readyz, and its resident memory (Linux: /proc). The machine's other work
moves the times, the ratios much less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import soundfile
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from encoders.base import Encoder, Modality, Vectors, Waveform
from encoders.bundled import RUNTIMES, load

STAMPS = Path(__file__).parents[1] / "samples" / "tuxpaint-stamps"
BATCHES = (1, 16)
TARGETS = {"image": 2.5, "text": 2.0}  # times eager torch
READY_S = 2.0
RESIDENT_MB = 450
STARTS = 4  # the first one fills the disk cache and is not counted

Encoders = Mapping[Modality, Encoder]


def main() -> int:
    """1 where a figure misses its target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="repetitions of each batch")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    services = service_figures()  # before torch and this process's models take memory
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    runtimes = {name: by_modality(name) for name in RUNTIMES}
    rows = [
        speed(runtimes, modality, items, batch, arguments.rounds)
        for modality, items in media().items()
        for batch in BATCHES
    ]
    show(rows, services)
    if arguments.json:
        arguments.json.write_text(json.dumps({"speed": rows, "service": services}, indent=2))
    slow = [row for row in rows if row["ratio"] < TARGETS.get(row["modality"], 0)]
    heavy = services["ready_s"] > READY_S or services["ready_mb"] > RESIDENT_MB
    return int(bool(slow) or heavy)


def by_modality(runtime: str) -> Encoders:
    return {encoder.modality: encoder for encoder in load(runtime=runtime)[0]}


def media() -> dict[Modality, list[Any]]:
    """Samples, decoded, in a fixed random order; sounds of at most one window."""
    found: dict[Modality, list[Any]] = {
        "image": [_picture(path) for path in _samples("png")],
        "text": [path.read_text(encoding="utf-8").strip() for path in _samples("txt")],
        "audio": [_sound(path) for path in _samples("ogg")],
    }
    return found


def _samples(suffix: str, most: int = 64) -> list[Path]:
    paths = sorted(STAMPS.rglob(f"*.{suffix}"))
    return random.Random(0).sample(paths, min(most, len(paths)))


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.copy()


def _sound(path: Path) -> Waveform:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Waveform(samples.mean(axis=1), rate)


def speed(
    runtimes: Mapping[str, Encoders],
    modality: Modality,
    items: Sequence[Any],
    batch: int,
    rounds: int,
) -> dict[str, Any]:
    """Median items per second of each runtime, over the same batches, pass by pass in turns."""
    encode = {name: encoders[modality].encode for name, encoders in runtimes.items()}
    timed = compared(encode, parts_of(items, batch), rounds)
    served, torch_ = timed["openvino"], timed["torch"]
    return {
        "modality": modality,
        "batch": batch,
        "items_per_s": {name: 1 / each.seconds for name, each in timed.items()},
        "ratio": torch_.seconds / served.seconds,
        "least_cosine": served.least_cosine,
    }


@dataclass(frozen=True)
class Timed:
    seconds: float  # per item, median
    least_cosine: float  # with torch


def parts_of(items: Sequence[Any], batch: int) -> list[Sequence[Any]]:
    """Batches, eight at most."""
    return [items[start : start + batch] for start in range(0, len(items) - batch + 1, batch)][:8]


def compared(
    encode: Mapping[str, Callable[[Sequence[Any]], Vectors]],
    parts: Sequence[Sequence[Any]],
    rounds: int,
    beside: str = "torch",
) -> dict[str, Timed]:
    """Each runtime over the same batches, pass by pass in turns."""
    # The first pass is not counted: memory and kernels for each length of input are made then.
    wanted = [encode[beside](part) for part in parts]
    least = {
        name: min(
            float((run(part) * rows).sum(axis=1).min())
            for part, rows in zip(parts, wanted, strict=True)
        )
        for name, run in encode.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in encode}
    for _ in range(rounds):
        for name, run in encode.items():
            for part in parts:
                start = time.perf_counter()
                run(part)
                seconds[name].append((time.perf_counter() - start) / len(part))
    return {name: Timed(statistics.median(seconds[name]), least[name]) for name in encode}


def service_figures() -> dict[str, float]:
    """Ready after s (median) and resident MB, ready and after one store and retrieval of each."""
    times = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder, _service(Path(folder)) as (process, url, s):
            times.append(s)
            ready = _resident_mb(process.pid)
            _use(url)
            used = _resident_mb(process.pid)
    return {"ready_s": statistics.median(times[1:]), "ready_mb": ready, "used_mb": used}


@contextmanager
def _service(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """A served empty memory: process, address, seconds until it was ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    serve = ["serve", "--port", str(port), "--data-dir", str(folder), "--log-level", "warning"]
    script = Path(sys.executable).parent / "memory-service"
    start = time.perf_counter()
    process = subprocess.Popen([str(script), *serve])
    try:
        while not _is_ready(url):
            if process.poll() is not None:
                raise RuntimeError(f"the service ended with exit code {process.returncode}")
            time.sleep(0.02)
        yield process, url, time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        # A client of httpx takes longer to make than the pause between two tries.
        return urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200  # type: ignore[no-any-return]
    except OSError:
        return False


def _use(url: str) -> None:
    """Store an episode of the three modalities, and ask for it with each."""
    stem = STAMPS / "animals/mammals/cats/tiger"
    kinds = {"image": "png", "text": "txt", "audio": "ogg"}
    files = {kind: stem.with_suffix(f".{suffix}").read_bytes() for kind, suffix in kinds.items()}
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        client.post("/store", files=files).raise_for_status()
        for kind, content in files.items():
            client.post("/retrieve", files={kind: content}).raise_for_status()


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


def show(rows: Sequence[Mapping[str, Any]], service: Mapping[str, float]) -> None:
    table = Table("encoder", "batch", "torch /s", "served /s", "ratio", "target", "least cosine")
    for row in rows:
        rate, target = row["items_per_s"], TARGETS.get(row["modality"])
        table.add_row(
            row["modality"],
            str(row["batch"]),
            f"{rate['torch']:.1f}",
            f"{rate['openvino']:.1f}",
            f"{row['ratio']:.2f}",
            f"{target}" if target else "",
            f"{row['least_cosine']:.5f}",
        )
    Console().print(table)
    table = Table("service", "figure", "target")
    table.add_row("start to ready", f"{service['ready_s']:.2f} s", f"{READY_S:.0f} s")
    table.add_row("resident, ready", f"{service['ready_mb']:.0f} MB", f"{RESIDENT_MB} MB")
    table.add_row("resident, all three encoders used", f"{service['used_mb']:.0f} MB", "")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
