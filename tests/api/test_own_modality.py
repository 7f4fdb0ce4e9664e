"""A package that nobody here knows adds a modality: a decoder, an encoder, an entry point."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

# As in docs/guide.md, "A modality of your own".
PACKAGE = '''
import numpy as np

from encoders.base import Encoder
from encoders.media import Decoded, MediaError
from encoders.modalities import ModalityKind

ACCEPTED = ("application/x-place",)


def decode(content, limits):
    try:
        latitude, longitude = map(float, content.decode().split())
    except ValueError as error:
        message = "a place is latitude and longitude"
        raise MediaError("invalid_media", message, None, ACCEPTED) from error
    return Decoded("place", ACCEPTED[0], (latitude, longitude))


class PlaceEncoder(Encoder):
    """Named places, as the texts that name their continent."""

    modality = "place"

    def __init__(self, text):
        self._text = text
        self.space = text.space

    def _encode(self, batch):
        return self._text.encode(["Europe" if east > -30 else "America" for _, east in batch])


def encoder(encoders):
    return PlaceEncoder(encoders["text"]) if "text" in encoders else None


KIND = ModalityKind("place", ACCEPTED, decode, encoder)
'''

STORE_AND_RECALL = """
import sys
from pathlib import Path

from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.client import Client
from memory_service.settings import Settings

settings = Settings(data_dir=Path(sys.argv[1]), profile="fake")
with TestClient(create_app(settings=settings)) as service:
    stored = service.post("/store", files={"place": b"52.5 13.4", "text": b"Berlin"})
    assert stored.status_code == 201, stored.text
    assert service.post("/store", files={"place": b"40.7 -74.0"}).status_code == 201
    broken = service.post("/store", files={"place": b"nowhere"})
    assert (broken.status_code, broken.json()["code"]) == (422, "invalid_media")
    body = {"query": {"text": "America"}, "modalities": ["place"], "mode": "direct", "k": 1}
    (hit,) = service.post("/retrieve", json=body).json()["results"]["place"]
    assert service.get(hit["memory"]["links"]["content"]).content == b"40.7 -74.0"

    client = Client("http://memory")
    client._http = service
    client.store(media={"place": b"48.9 2.4"})
    found = client.retrieve(media={"place": b"48.1 11.6"}, modalities=["place", "text"], k=5)
    assert len(found.hits["place"]) == 3
    assert found.hits["text"][0].memory.text == "Berlin"
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    assert "place" in schemas["QueryPartIn"]["properties"]
print("stored and recalled")
"""


def test_a_package_adds_a_modality(tmp_path: Path) -> None:
    (tmp_path / "places.py").write_text(PACKAGE)
    info = tmp_path / "places-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: places\nVersion: 1.0\n")
    entry_point = "[simmim.modalities]\nplace = places:KIND\n"
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_point))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-c", STORE_AND_RECALL, str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "stored and recalled\n", run.stderr
