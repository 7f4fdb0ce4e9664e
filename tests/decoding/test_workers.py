"""Decoding in workers: the same media as in process; what crashes or hangs ends nothing else."""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from PIL import Image

from encoders.media import Limits, MediaError
from encoders.sounds import Recording
from memory_service.api import create_app
from memory_service.bootstrap import build
from memory_service.decoding import InProcess, Workers
from memory_service.decoding.decoders import RemoteRecording
from memory_service.decoding.pool import COMMAND, Pool
from memory_service.settings import Settings

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps/animals/mammals/cats"
# A worker whose decoder does what some bytes say.
HOSTILE = """
import os, sys, time
from encoders import media
from memory_service.decoding import worker
decode = media.decode
def hostile(modality, content, limits):
    if b"ABORT" in content:
        os.abort()
    if b"HANG" in content:
        time.sleep(60)
    if b"GREED" in content:
        return bytearray(8 << 30)
    return decode(modality, content, limits)
media.decode = hostile
worker.main(int(sys.argv[1]))
"""


def pools(tmp_path: Path, timeout_s: float = 30.0) -> tuple[Pool, Pool]:
    script = tmp_path / "hostile.py"
    script.write_text(HOSTILE)
    limits = {"timeout_s": timeout_s, "max_bytes": 2 << 30}
    return (
        Pool(2, **limits, command=(sys.executable, str(script))),  # type: ignore[arg-type]
        Pool(1, **limits),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(*pools(tmp_path_factory.mktemp("workers")))
    yield workers
    workers.close()


def picture(word: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "PNG")
    return buffer.getvalue() + word


def long_sound() -> bytes:
    samples = np.sin(np.arange(12 * 8000) / 20).astype(np.float32) / 2
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8000, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


@pytest.mark.parametrize(("modality", "suffix"), [("image", ".png"), ("audio", ".ogg")])
def test_media_are_the_same_as_in_process(workers: Workers, modality: str, suffix: str) -> None:
    content = (SAMPLES / "tiger").with_suffix(suffix).read_bytes()
    here = InProcess().decode(modality, content, Limits())
    there = workers.decode(modality, content, Limits())
    assert (there.modality, there.media_type) == (here.modality, here.media_type)
    if modality == "image":
        assert there.media.mode == here.media.mode == "RGB"
        assert np.array_equal(np.asarray(there.media), np.asarray(here.media))
    else:
        assert there.media.sample_rate == here.media.sample_rate
        assert np.array_equal(there.media.samples, here.media.samples)


def test_long_sounds_are_read_in_workers(workers: Workers) -> None:
    content = long_sound()
    here = InProcess().decode("audio", content, Limits()).media
    there = workers.decode("audio", content, Limits()).media
    assert isinstance(here, Recording)
    assert isinstance(there, RemoteRecording)
    assert there.duration_s == here.duration_s
    for own, other in zip(here.segments(2.0, 1.0), there.segments(2.0, 1.0), strict=True):
        assert (own.start_s, own.end_s) == (other.start_s, other.end_s)
        assert np.array_equal(own.sound.samples, other.sound.samples)
    assert np.array_equal(here.read(3.0, 4.0).samples, there.read(3.0, 4.0).samples)
    assert workers.cut(content, 1.0, 2.0) == InProcess().cut(content, 1.0, 2.0)
    started = there.segments(2.0, 1.0)
    next(started)
    started.close()  # the only worker for long sounds is free again
    assert len(list(there.segments(2.0, 1.0))) == 11


@pytest.mark.parametrize(
    ("modality", "content", "code"),
    [
        ("image", picture()[:40], "invalid_media"),
        ("image", b"%PDF-1.4", "unsupported_media"),
        ("image", b"", "invalid_media"),
        ("audio", picture(), "unsupported_media"),
        ("text", b"a\0", "invalid_media"),
    ],
)
def test_refusals_are_the_same(workers: Workers, modality: str, content: bytes, code: str) -> None:
    lost = workers.lost
    found = []
    for decoders in (workers, InProcess()):
        with pytest.raises(MediaError) as caught:
            decoders.decode(modality, content, Limits())
        found.append((caught.value.code, caught.value.message, caught.value.accepted))
    assert found[0] == found[1]
    assert found[0][0] == code
    assert workers.lost == lost  # a refusal costs no worker


def test_limits_go_along(workers: Workers) -> None:
    with pytest.raises(MediaError) as caught:
        workers.decode("image", picture(), Limits(max_pixels=100))
    assert caught.value.code == "too_large"


def test_a_crash_refuses_its_own_bytes_only(workers: Workers) -> None:
    lost = workers.lost
    with pytest.raises(MediaError, match="crashed on it \\(signal 6\\)") as caught:
        workers.decode("image", picture(b"ABORT"), Limits())
    assert caught.value.code == "invalid_media"
    assert workers.lost == lost + 1
    assert workers.decode("image", picture(), Limits()).media.size == (20, 10)


def test_memory_is_bounded(workers: Workers) -> None:
    with pytest.raises(MediaError) as caught:
        workers.decode("image", picture(b"GREED"), Limits())
    assert caught.value.code == "too_large"
    assert workers.decode("image", picture(), Limits()).media.size == (20, 10)


def test_what_hangs_is_ended(tmp_path: Path) -> None:
    workers = Workers(*pools(tmp_path, timeout_s=10.0))
    workers.decode("image", picture(), Limits())  # it has started
    workers._pool._timeout_s = 0.3
    with pytest.raises(MediaError, match=r"longer than 0\.3 s"):
        workers.decode("image", picture(b"HANG"), Limits())
    workers._pool._timeout_s = 30.0
    assert workers.decode("image", picture(), Limits()).media.size == (20, 10)
    assert workers.lost == 1
    workers.close()


def test_no_more_workers_than_allowed(workers: Workers) -> None:
    def decode() -> None:
        workers.decode("image", picture(), Limits())

    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert 1 <= len(workers._pool._idle) <= 2


def test_a_worker_ends_with_its_service() -> None:
    """However the service ends: nothing is left to read."""
    pool = Pool(1, timeout_s=30.0, max_bytes=2 << 30, command=COMMAND)
    pool.warm()
    (worker,) = pool._idle
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.close()
    assert worker.wait(30) == 0
    worker.stdout.close()


def test_the_service_survives_a_decoder_that_crashes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", profile="fake", decode="process")
    with build(settings) as application:
        decoders = application.decoders
        assert isinstance(decoders, Workers)
        decoders._pool.close()
        decoders._pool = pools(tmp_path)[0]
        with TestClient(create_app(application)) as client:
            bad = client.post("/store", files={"image": picture(b"ABORT")})
            assert (bad.status_code, bad.json()["code"]) == (422, "invalid_media")
            good = client.post("/store", files={"image": picture(), "audio": long_sound()})
            assert good.status_code == 201, good.text
            assert client.get("/stats").json()["memories"] == 2
            assert "memory_service_decoders_lost 1.0" in client.get("/metrics").text


def test_a_worker_imports_no_models() -> None:
    import subprocess

    program = (
        "import sys, memory_service.decoding.worker\n"
        "print([m for m in ('torch', 'faiss', 'openvino', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_ended_while_idle(workers: Workers) -> None:
    workers.decode("image", picture(), Limits())
    for worker in workers._pool._idle:
        worker.kill()
        while worker.poll() is None:
            time.sleep(0.01)
    assert workers.decode("image", picture(), Limits()).media.size == (20, 10)
