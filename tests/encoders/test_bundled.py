"""The committed weights: canonical vectors, meaning across modalities, parity with fp32."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from encoders.base import Encoder, Modality, Vectors, Waveform
from encoders.bundled import FOLDER, space
from encoders.registry import Profile, load_profile

STAMPS = Path(__file__).parents[2] / "samples" / "tuxpaint-stamps"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("bundled")


def stamp(path: str) -> Image.Image:
    return Image.open(STAMPS / path)


def tone(hertz: float, seconds: float = 1.0, rate: int = 16_000) -> Waveform:
    times = np.arange(int(seconds * rate)) / rate
    return Waveform((0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32), rate)


def gradient() -> Image.Image:
    rows, columns = np.mgrid[0:64, 0:96]
    pixels = np.stack([rows * 4, columns * 2, 255 - rows * 2], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


MEDIA = {
    "text": ["a cat", "", "The quick brown fox jumps over the lazy dog. " * 80],
    "image": [gradient(), Image.new("RGBA", (30, 300), (0, 0, 255, 128)), Image.new("1", (1, 1))],
    "audio": [tone(440), tone(3000, 9.5, 44_100), Waveform(np.zeros(0, np.float32), 8_000)],
}
CANONICAL: dict[Modality, list[float]] = {
    "text": [0.06167, 0.0415, 0.00868, 0.06252, -0.12723, 0.00626],
    "image": [0.00264, -0.06393, 0.09351, 0.03283, 0.03063, 0.00704],
    "audio": [0.03277, 0.0147, -0.14035, -0.06364, -0.17246, -0.01943],
}


def one(profile: Profile, modality: Modality, media: object) -> Vectors:
    return profile.encoders[modality].encode([media])[0]


@pytest.mark.parametrize("modality", MEDIA)
def test_canonical_vectors(profile: Profile, modality: Modality) -> None:
    """Other figures mean other vectors: stores would have to be embedded again."""
    vector = one(profile, modality, MEDIA[modality][0])
    atol = 2e-3 if modality == "text" else 2e-4  # texts are computed in bfloat16 where it is fast
    np.testing.assert_allclose(vector[:6], CANONICAL[modality], atol=atol)


@pytest.mark.parametrize("modality", MEDIA)
def test_a_batch_gives_what_single_calls_give(profile: Profile, modality: Modality) -> None:
    encoder: Encoder = profile.encoders[modality]
    together = encoder.encode(MEDIA[modality])
    singly = np.concatenate([encoder.encode([media]) for media in MEDIA[modality]])
    np.testing.assert_allclose(together, singly, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    assert together.dtype == np.float32
    assert together.shape == (3, 384)


def test_all_share_one_space(profile: Profile) -> None:
    assert {encoder.space for encoder in profile.encoders.values()} == {space()}
    assert space().id == "bundled"


def test_the_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    before = space(tmp_path)
    (tmp_path / "calibration.json").write_text("{}")
    assert space(tmp_path) == before
    (tmp_path / "weights").write_bytes(b"2")
    assert space(tmp_path).fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("picture", "right", "wrong"),
    [
        ("seasonal/halloween/blackcat.png", "a cat", "a truck"),
        ("hobbies/music/string/guitar_classical.png", "a musical instrument", "a bird"),
        ("animals/mammals/cats/lion.png", "a wild animal", "a kitchen tool"),
    ],
)
def test_pictures_are_near_their_words(
    profile: Profile, picture: str, right: str, wrong: str
) -> None:
    shown = one(profile, "image", stamp(picture))
    near, far = profile.encoders["text"].encode([right, wrong])
    assert shown @ near > shown @ far + 0.1


def test_most_sample_pictures_find_their_text(profile: Profile) -> None:
    """Most of these stamps were trained on: this guards the pipeline, not the model."""
    paths = sorted(STAMPS.rglob("*.png"))[::8]
    texts = [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in paths]
    pictures = profile.encoders["image"].encode([Image.open(path) for path in paths])
    nearest = (pictures @ profile.encoders["text"].encode(texts).T).argmax(axis=1)
    assert (nearest == np.arange(len(paths))).mean() > 0.75


def test_most_sample_sounds_find_their_text_among_ten(profile: Profile) -> None:
    paths = sorted(STAMPS.rglob("*.ogg"))[::3]
    texts = [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in paths]
    sounds = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        sounds.append(Waveform(samples.mean(axis=1), rate))
    cosines = profile.encoders["audio"].encode(sounds) @ profile.encoders["text"].encode(texts).T
    ranks = (cosines > np.diag(cosines)[:, None]).sum(axis=1)
    assert (ranks < len(paths) / 2).mean() > 0.7


def test_transparent_pixels_do_not_matter(profile: Profile) -> None:
    hidden = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    white = Image.new("RGB", (64, 64), "white")
    np.testing.assert_allclose(
        one(profile, "image", hidden), one(profile, "image", white), atol=1e-6
    )


def test_scores_rise_with_the_cosine_for_every_pair(profile: Profile) -> None:
    cosines = np.linspace(-0.2, 1, 30)
    for query in (None, *MEDIA):
        for memory in MEDIA:
            scores = profile.calibration.score(cosines, query, memory)
            assert (np.diff(scores) > 0).all()


def test_no_file_is_too_large_for_the_repository() -> None:
    assert max(path.stat().st_size for path in FOLDER.iterdir()) < 48_000_000
