"""Data folders of stopped services, with something of everything."""

import io
import wave
from pathlib import Path

import numpy as np
from PIL import Image

from memory_service.bootstrap import build
from memory_service.records import QueryPart, Upload
from memory_service.services.consolidation import Request
from memory_service.settings import Settings


def picture(seed: int) -> Upload:
    """Noise of some 20 kB: a file of its own."""
    pixels = np.random.default_rng(seed).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Upload("image", buffer.getvalue())


def sound(seconds: float) -> Upload:
    """One longer than 8 s has segments."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(4000)
        time = np.arange(round(4000 * seconds)) / 4000
        file.writeframes((np.sin(2800 * time) * 9000).astype("<i2").tobytes())
    return Upload("audio", buffer.getvalue())


def store_of_everything(folder: Path) -> Path:
    """Three animals, two equal notes with their prototype, a fading namespace, a generation,
    recalls, something that was forgotten, a key, two lines of audit log. Ten memories."""
    with build(Settings(data_dir=folder, profile="fake")) as app:
        for number, name in enumerate(("a red fox", "a blue whale", "a green frog")):
            more = [sound(9.0)] if number == 0 else [sound(0.5)] if number == 1 else []
            uploads = [picture(number), Upload("text", name.encode()), *more]
            app.memory.store(uploads, metadata={"name": name.split()[-1]})
        for _ in range(2):
            app.memory.store([Upload("text", b"twice the same note")], namespace="notes")
        gone = app.memory.store([Upload("text", b"soon forgotten")]).episode
        app.consolidation.run(Request())
        app.namespaces.configure("notes", {"trace_half_life_s": 3600.0})
        app.generation.generate([QueryPart("text", b"a red fox")], outputs=["text"], seed=1)
        app.retriever.retrieve([QueryPart("text", b"a blue whale")])
        app.thumbnails.get(app.memory.list(modality="image")[0][0].id)
        app.memory.forget_episode(gone.id)
        app.keys.create("of the fixture", "read", namespaces=["notes"])
        assert app.audit is not None
        for route in ("/store", "/generate"):
            app.audit.add({"method": "POST", "route": route})
    return folder
