"""Small pictures of pictures and sounds."""

import io

import numpy as np
import pytest
from PIL import Image
from service_media import audio, image, text, wav

from encoders.base import Waveform
from encoders.sounds import Recording, read_sound
from memory_service.app import Application
from memory_service.errors import NotFound, NoThumbnail
from memory_service.records import Upload
from memory_service.services import thumbnails
from memory_service.services.thumbnails import SIDE, SOUND_HEIGHT, outline


def test_they_are_kept_and_go_with_the_memory(app: Application) -> None:
    picture, sound, words = app.memory.store([image(1), audio(500), text("a")]).episode.memories
    kept = app.store.removal.thumbnails
    for memory in (picture, sound):
        _, made = app.thumbnails.get(memory.id)
        assert kept.read(memory.blob) == made == app.thumbnails.get(memory.id)[1]
        app.memory.forget(memory.id)
        assert kept.read(memory.blob) is None
        with pytest.raises(NotFound):
            app.thumbnails.get(memory.id)
    with pytest.raises(NoThumbnail) as caught:
        app.thumbnails.get(words.id)
    assert caught.value.details == {"found": "text", "accepted": ["image", "audio"]}
    assert not list(kept.digests())


def test_one_that_is_made_while_its_memory_goes_is_not_kept(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = app.memory.store([image(1)]).episode.memories[0]
    made = thumbnails._jpeg

    def slow(picture: Image.Image) -> bytes:
        app.memory.forget(memory.id)
        return made(picture)

    monkeypatch.setattr(thumbnails, "_jpeg", slow)
    with pytest.raises(NotFound):
        app.thumbnails.get(memory.id)
    assert not list(app.store.removal.thumbnails.digests())


def test_large_pictures_are_made_smaller(app: Application) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (1200, 300), (255, 0, 0, 128)).save(buffer, "PNG")
    memory = app.memory.store([Upload("image", buffer.getvalue())]).episode.memories[0]
    with Image.open(io.BytesIO(app.thumbnails.get(memory.id)[1])) as small:
        assert small.size == (256, 64)


def test_a_sound_is_shown_by_its_loudness() -> None:
    samples = np.concatenate([np.full(3000, 0.5), np.zeros(3000)]).astype(np.float32)
    shown = np.asarray(outline(Waveform(samples, 16_000))) < 128  # ink
    assert shown.shape == (SOUND_HEIGHT, SIDE)
    assert shown[:, : SIDE // 2 - 2].sum(axis=0).min() >= SOUND_HEIGHT // 2 - 1
    assert shown[:, SIDE // 2 + 2 :].sum(axis=0).max() <= 2
    assert np.asarray(outline(Waveform(samples[:1], 16_000))).shape == (SOUND_HEIGHT, SIDE)


def test_a_long_sound_is_read_in_parts() -> None:
    long = read_sound(wav(440, seconds=20), "audio/wav", 60)
    assert isinstance(long, Recording)
    assert (np.asarray(outline(long)) < 128).sum(axis=0).min() > SOUND_HEIGHT // 2
