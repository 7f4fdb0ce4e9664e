"""The measures against what is known of them by hand."""

import numpy as np
import pytest
from PIL import Image

from encoders.base import Waveform, normalize
from memory_service.services.evaluation import judges, metrics, noise


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def picture(random: np.random.Generator, side: int = 32) -> Image.Image:
    """A disc on a gradient, other in each draw."""
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    disc = (x - random.uniform(-0.5, 0.5)) ** 2 + y**2 < 0.3
    values = np.stack([255 * disc, 127 * (x + 1), 127 * (y + 1)], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


def tone(frequency_hz: float, seconds: float = 1.0, rate: int = 16_000) -> Waveform:
    time = np.arange(round(seconds * rate)) / rate
    return Waveform((0.5 * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32), rate)


def test_equal_pictures_and_worse_ones(random: np.random.Generator) -> None:
    target = metrics.pixels(picture(random), 32)
    assert metrics.ssim(target, target) == pytest.approx(1)
    assert metrics.psnr_db(target, target) == metrics.BEST_PSNR_DB
    # Every value off by 16 of 255: 10 log10(255^2 / 16^2).
    grey = np.full((32, 32, 3), 100, np.uint8)
    assert metrics.psnr_db(grey + 16, grey) == pytest.approx(20 * np.log10(255 / 16))
    worse = [
        metrics.ssim(
            metrics.pixels(noise.gaussian(picture(np.random.default_rng(0)), s, random), 32), target
        )
        for s in (0.0, 0.1, 0.4)
    ]
    assert worse[0] == pytest.approx(1)
    assert worse == sorted(worse, reverse=True)


def test_a_picture_is_looked_at_whole_and_on_white() -> None:
    wide = Image.new("RGBA", (40, 10), (255, 0, 0, 255))
    square = metrics.pixels(wide, 20)
    assert square.shape == (20, 20, 3)
    assert (square[0] == 255).all()
    assert tuple(square[10, 10]) == (255, 0, 0)


def test_snr_is_the_ratio_of_powers() -> None:
    target = tone(440).samples
    assert metrics.snr_db(target, target) == metrics.BEST_SNR_DB
    # Nine tenths of the amplitude: the difference has a hundredth of the power.
    assert metrics.snr_db(target * np.float32(0.9), target) == pytest.approx(20, abs=1e-3)
    assert metrics.mse(target * np.float32(0.9), target) == pytest.approx(0.01 * 0.125, rel=1e-3)


def test_log_mel_tells_pitches_apart_and_not_loudness_or_delay() -> None:
    late = Waveform(np.concatenate([np.zeros(4000, np.float32), tone(440).samples]) / 3, 16_000)
    one, same, other = (metrics.audible(each, 12_000) for each in (tone(440), late, tone(1200)))
    assert metrics.log_mel_distance(one, one) == 0
    assert metrics.log_mel_distance(one, same) < 0.5 * metrics.log_mel_distance(one, other)


def test_ranks_do_not_favour_what_is_constant() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.2, 0.2, 0.2], [0.3, 0.1, 0.2]], np.float32)
    assert metrics.ranks(scores, np.array([2, 0, 0])).tolist() == [1, 1, 0]
    level = np.zeros((1, 101), np.float32)
    assert metrics.ranks(level, np.array([0])).tolist() == [50]
    assert metrics.chance_at_k(10, 40) == 0.25
    assert metrics.chance_at_k(10, 4) == 1


def test_distances_of_sets_are_unbiased(random: np.random.Generator) -> None:
    def draw(count: int, shift: float) -> metrics.Vectors:
        return normalize(random.standard_normal((count, 16)) + shift)

    for distance in (metrics.kid, metrics.mmd):
        same = [distance(draw(20, 0), draw(20, 0)) for _ in range(200)]
        # Unbiased: of equal sets the mean is 0, and half of the draws are below.
        assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(len(same))
        assert min(same) < 0
        assert distance(draw(20, 0), draw(20, 1.0)) > max(same)
        with pytest.raises(ValueError, match="two of each"):
            distance(draw(1, 0), draw(5, 0))


def test_kid_by_hand() -> None:
    x, y = np.eye(2, dtype=np.float32), -np.eye(2, dtype=np.float32)
    # Off the diagonal (1 + 0)^3 within both; across -1 and 0: (0, 1, 1, 0) / 4.
    assert metrics.kid(x, y) == pytest.approx(1 + 1 - 2 * 0.5)


def test_prdc_by_hand() -> None:
    """On a line, k = 1: balls of real ones reach 1, 1, 1, 7; of made ones .5, .5, 9."""
    real = np.array([[0.0], [1.0], [2.0], [9.0]], np.float32)
    made = np.array([[0.5], [1.0], [10.0]], np.float32)
    # Within balls of real ones: .5 of 0 and 1; 1 of 1 alone (0 and 2 are just 1 away); 10 of 9.
    # Within balls of made ones: 1 of 1; 2 and 9 of 10; 0 of none.
    assert metrics.prdc(made, real, k=1) == {
        "precision": pytest.approx(1.0),
        "recall": pytest.approx(3 / 4),
        "density": pytest.approx(4 / 3),
        "coverage": pytest.approx(3 / 4),
    }
    with pytest.raises(ValueError, match="more than 5"):
        metrics.prdc(made, real)


def test_prdc_of_equal_and_of_strange_sets(random: np.random.Generator) -> None:
    real, same = (normalize(random.standard_normal((300, 16))) for _ in range(2))
    alike = metrics.prdc(same, real)
    # Of two draws of one distribution, coverage is near 1 - 2^-k, density near 1.
    assert alike["coverage"] == pytest.approx(1 - 2**-5, abs=0.05)
    assert alike["density"] == pytest.approx(1, abs=0.15)
    strange = metrics.prdc(normalize(same + 5), real)
    assert max(strange["recall"], strange["coverage"]) < 0.1  # one outlier's ball may hold them all
    lazy = metrics.prdc(np.repeat(real[:3], 100, axis=0), real)  # precise, and nothing else
    assert lazy["precision"] == 1
    assert lazy["coverage"] < 0.3


def test_diversity_of_equal_and_of_opposite_vectors() -> None:
    one = normalize(np.ones((3, 4)))
    assert metrics.diversity(one) == pytest.approx(0, abs=1e-6)
    assert metrics.diversity(np.concatenate([one[:1], -one[:1]])) == pytest.approx(2)
    assert metrics.diversity(one[:1]) == 0


def test_the_interval_covers_the_mean_as_often_as_it_says(random: np.random.Generator) -> None:
    covered = 0
    for seed in range(200):
        low, high = metrics.interval(random.normal(3, 1, 40), draws=300, seed=seed)
        covered += low <= 3 <= high
    assert 180 <= covered <= 199
    assert metrics.interval([0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("damage", [noise.gaussian, noise.salt_and_pepper])
def test_no_noise_changes_nothing_and_a_seed_gives_the_same(damage: object) -> None:
    clean = picture(np.random.default_rng(3))
    pixels = np.asarray(clean)
    assert (np.asarray(damage(clean, 0.0, np.random.default_rng(1))) == pixels).all()  # type: ignore[operator]
    twice = [np.asarray(damage(clean, 0.3, np.random.default_rng(1))) for _ in range(2)]  # type: ignore[operator]
    assert (twice[0] == twice[1]).all()
    assert (twice[0] != pixels).any()


def test_salt_and_pepper_hits_its_share_in_black_and_white() -> None:
    grey = Image.new("RGB", (100, 100), (128, 128, 128))
    hit = np.asarray(noise.salt_and_pepper(grey, 0.2, np.random.default_rng(0)))
    assert set(np.unique(hit)) == {0, 128, 255}
    assert (hit[..., 0] != 128).mean() == pytest.approx(0.2, abs=0.02)
    assert (hit[..., 0] == hit[..., 2]).all()


def test_white_noise_has_the_ratio_that_was_asked_for() -> None:
    clean = tone(440)
    noised = noise.white_noise(clean, 0.1, np.random.default_rng(0))
    assert metrics.snr_db(noised.samples, clean.samples) == pytest.approx(20, abs=0.2)
    assert (noise.white_noise(clean, 0.0, np.random.default_rng(0)).samples == clean.samples).all()
    silent = Waveform(np.zeros(0, np.float32), 16_000)
    assert len(noise.white_noise(silent, 1.0, np.random.default_rng(0)).samples) == 0


def test_typing_errors_are_as_many_as_asked_for() -> None:
    text = "the quick brown fox " * 50
    assert noise.typing_errors(text, 0.0, np.random.default_rng(0)) == text.strip()
    wrong = noise.typing_errors(text, 0.5, np.random.default_rng(0))
    assert judges.describe("text", [wrong])[0] @ judges.describe("text", [text])[0] < 0.8
    assert noise.typing_errors("ab", 1.0, np.random.default_rng(5))


def test_the_second_judge_knows_form() -> None:
    random = np.random.default_rng(0)
    pictures = [picture(random, 64) for _ in range(5)]
    noised = [noise.gaussian(each, 0.05, random) for each in pictures]
    likeness = judges.describe("image", noised) @ judges.describe("image", pictures).T
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    sounds = [tone(f) for f in (200, 500, 1100, 2500)]
    noised_sounds = [noise.white_noise(each, 0.05, random) for each in sounds]
    likeness = judges.describe("audio", noised_sounds) @ judges.describe("audio", sounds).T
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3]
    texts = judges.describe("text", ["a red fox", "red foxes", "a blue whale", ""])
    assert texts[0] @ texts[1] > texts[0] @ texts[2]
    assert np.isfinite(texts).all()
