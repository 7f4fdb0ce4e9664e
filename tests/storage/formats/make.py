"""Makes a small store of every format with the code that first wrote it, as FORMAT.zip beside this.

    python tests/storage/formats/make.py [FORMAT ...]

Needs the history of the repository, and its dependencies as they are installed; profile `fake`.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

HERE = Path(__file__).parent
COMMITS = {  # one that writes this format
    1: "087bf20",
    2: "0a6254a",
    3: "59726bf",
    4: "7e8302f",
    5: "7eeee88",
    6: "1595bfc",
    7: "a0ddc31",
    8: "af197c2",
    9: "f786127",
    10: "6430f2b",
    11: "1d1a021",
    12: "938ae58",
    13: "359bdbb",
    14: "1d983eb",
}
LEFT_OUT = ("lock", "reserve")

PROGRAM = """
import io, sys, wave
from pathlib import Path

import numpy as np
from PIL import Image

from memory_service.bootstrap import build
from memory_service.records import QueryPart, Upload
from memory_service.settings import Settings

def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()

def wav(seconds):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(4000)
        time = np.arange(int(4000 * seconds)) / 4000
        file.writeframes((np.sin(2800 * time) * 9000).astype("<i2").tobytes())
    return buffer.getvalue()

format = int(sys.argv[2])
with build(Settings(data_dir=Path(sys.argv[1]), profile="fake")) as app:
    for number, name in enumerate(("a red fox", "a blue whale", "a green frog")):
        uploads = [Upload("image", png(number)), Upload("text", name.encode())]
        if number == 0:
            uploads.append(Upload("audio", wav(0.25 if format == 1 else 8.5)))
        app.memory.store(uploads, metadata={"name": name.split()[-1], "number": number})
    gone = app.memory.store([Upload("text", b"soon forgotten")]).episode
    made = app.generation.generate([QueryPart("text", b"a red fox")], outputs=["text"], seed=1)
    app.memory.forget_episode(gone.id)
    if format >= 5:
        from memory_service.services.consolidation import Request
        for _ in range(2):
            app.memory.store([Upload("text", b"twice the same note")], namespace="notes")
        assert app.consolidation.run(Request()).result["groups"] == 1
        app.namespaces.configure("notes", {"half_life_s": 60.0, "trace_half_life_s": 3600.0})
        app.retriever.retrieve([QueryPart("text", b"a blue whale")])
"""


def make(format: int, commit: str) -> None:
    root = Path(subprocess.check_output(["git", "rev-parse", "--show-toplevel"], text=True).strip())
    with tempfile.TemporaryDirectory() as temporary:
        code, data = Path(temporary, "code"), Path(temporary, "data")
        # Shown weights are large, and profile fake has none.
        paths = ["memory_service", "encoders", "generator", ":(exclude)*/weights/*"]
        archive = subprocess.check_output(["git", "archive", commit, "--", *paths], cwd=root)
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(code, filter="data")
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(data), str(format)]
        subprocess.run(command, check=True, cwd=code)
        files = sorted(path for path in data.rglob("*") if path.is_file())
        with zipfile.ZipFile(HERE / f"{format}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for path in files:
                if path.name not in LEFT_OUT:
                    packed.write(path, path.relative_to(data))


if __name__ == "__main__":
    for wanted in map(int, sys.argv[1:] or COMMITS):
        make(wanted, COMMITS[wanted])
