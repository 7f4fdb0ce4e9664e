"""The measures, as functions of media or of vectors. Nothing here knows models or the store."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from encoders.base import Vectors, Waveform
from encoders.log_mel import HOP, log_mel, resample
from encoders.picture import on_white

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BEST_PSNR_DB = 60.0  # of equal pictures, whose PSNR has no bound
BEST_SNR_DB = 60.0
AUDIBLE = 0.05  # of the peak
Z_95 = 1.96  # standard deviations of a normal distribution with 95 % of it between
PRDC_K = 5  # neighbours, as Naeem et al. advise
PRDC_FEWEST = 100  # of both: with fewer the balls are so wide that everything lies in one


def pixels(picture: Image.Image, side_px: int) -> Bytes:
    """(S, S, 3): the whole picture on a white square, as the generators look at it."""
    size = (side_px, side_px)
    return np.asarray(ImageOps.pad(on_white(picture), size, color="white"), np.uint8)


def ssim(made: Bytes, target: Bytes) -> float:
    """Structural similarity in [-1, 1], 1 for equal ones (Wang et al. 2004), by scikit-image."""
    from skimage.metrics import structural_similarity

    return float(structural_similarity(made, target, channel_axis=2))


def psnr_db(made: Bytes, target: Bytes) -> float:
    """10 log10(255^2 / MSE); at most BEST_PSNR_DB."""
    error = float(np.square(made.astype(np.float64) - target).mean())
    return BEST_PSNR_DB if error == 0 else min(BEST_PSNR_DB, 10 * np.log10(255**2 / error))


def audible(sound: Waveform, samples: int) -> npt.NDArray[np.float32]:
    """(samples,) at 16 kHz and a peak of 1, from where it becomes audible; then silence."""
    heard = resample(sound)
    heard = heard / max(float(np.abs(heard).max(initial=0.0)), 1e-4)
    loud = np.flatnonzero(np.abs(heard) > AUDIBLE)
    start = max(0, int(loud[0]) - HOP) if len(loud) else 0
    cut = heard[start : start + samples]
    return np.pad(cut, (0, samples - len(cut))).astype(np.float32)


def mse(made: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> float:
    """Mean squared error of two waveforms (T,)."""
    return float(np.square(made.astype(np.float64) - target).mean())


def snr_db(made: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> float:
    """10 log10(power of the target / power of the difference), at most BEST_SNR_DB.

    Below 0 wherever phases were invented, however alike the two sound.
    """
    power = float(np.square(target.astype(np.float64)).mean())
    error = mse(made, target)
    if error == 0:
        return BEST_SNR_DB
    return float(np.clip(10 * np.log10(max(power, 1e-12) / error), -BEST_SNR_DB, BEST_SNR_DB))


def log_mel_distance(made: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> float:
    """Mean absolute difference of log-mel magnitudes (natural logarithm) of 16 kHz samples (T,)."""
    return float(np.abs(log_mel(made) - log_mel(target)).mean())


def ranks(scores: Vectors, own: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,): how many of the candidates (N, C) score above the own one; 0 is first. Ties go
    against it by half, so that a constant vector is not always first."""
    mine = scores[np.arange(len(own)), own][:, None]
    above = (scores > mine).sum(axis=1)
    level = (scores == mine).sum(axis=1) - 1
    return np.asarray(above + (level + 1) // 2, np.int64)


def chance_at_k(k: int, candidates: int) -> float:
    """Recall@k of a ranking drawn by lot."""
    return min(1.0, k / max(candidates, 1))


def kid(made: Vectors, real: Vectors) -> float:
    """Kernel inception distance: unbiased squared MMD under the kernel (x.y / D + 1)^3 (Binkowski
    et al. 2018), of unit vectors (N, D), (M, D) scaled to length sqrt(D). May fall below 0.

    Raises ValueError for fewer than two of either.
    """
    return _unbiased_mmd(*((1 + a @ b.T) ** 3 for a, b in _pairs(made, real)))


def mmd(made: Vectors, real: Vectors) -> float:
    """Unbiased squared maximum mean discrepancy under a Gaussian kernel whose bandwidth is the
    median distance of the real ones (Gretton et al. 2012). May fall below 0.

    Raises ValueError for fewer than two of either.
    """
    apart = _squared_distances(real, real)[np.triu_indices(len(real), 1)]
    bandwidth = max(float(np.median(apart)) if len(apart) else 1.0, 1e-12)
    return _unbiased_mmd(
        *(np.exp(-_squared_distances(a, b) / bandwidth) for a, b in _pairs(made, real))
    )


def prdc(made: Vectors, real: Vectors, k: int = PRDC_K) -> dict[str, float]:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020) of
    made vectors (N, D) beside real ones (M, D), by balls that reach to each one's k-th neighbour.

    `precision`: share of the made ones within a ball of a real one; `recall`: of the real ones
    within a ball of a made one; `density`: how many balls of real ones a made one lies in, by k;
    `coverage`: share of the balls of real ones with a made one in them. Raises ValueError for k or
    fewer of either.
    """
    if min(len(made), len(real)) <= k:
        raise ValueError(f"neighbours of each need more than {k} of both")
    across = _squared_distances(real, made)  # (M, N)
    of_real = np.sort(_squared_distances(real, real), axis=1)[:, k]  # 0 is the distance to itself
    of_made = np.sort(_squared_distances(made, made), axis=1)[:, k]
    within = across < of_real[:, None]
    return {
        "precision": float(within.any(axis=0).mean()),
        "recall": float((across < of_made[None]).any(axis=1).mean()),
        "density": float(within.sum(axis=0).mean() / k),
        "coverage": float(within.any(axis=1).mean()),
    }


def _pairs(made: Vectors, real: Vectors) -> tuple[tuple[Floats, Floats], ...]:
    if min(len(made), len(real)) < 2:
        raise ValueError("a distance of two sets needs two of each at least")
    x, y = np.asarray(made, np.float64), np.asarray(real, np.float64)
    return (x, x), (y, y), (x, y)


def _squared_distances(a: Floats | Vectors, b: Floats | Vectors) -> Floats:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    crossed = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.asarray(np.maximum(crossed, 0), np.float64)


def _unbiased_mmd(within_x: Floats, within_y: Floats, across: Floats) -> float:
    n, m = across.shape
    x = (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
    y = (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
    return float(x + y - 2 * across.mean())


def diversity(vectors: Vectors) -> float:
    """Mean 1 - cosine over all pairs of unit rows (N, D); 0 for equal ones."""
    if len(vectors) < 2:
        return 0.0
    cosines = np.asarray(vectors, np.float64) @ np.asarray(vectors, np.float64).T
    return max(0.0, float(1 - cosines[np.triu_indices(len(vectors), 1)].mean()))


def mean_pairwise(values: Sequence[Floats | Bytes | npt.NDArray[np.float32]]) -> float:
    """Mean absolute difference over all pairs of equally shaped arrays."""
    pairs = [
        float(np.abs(a.astype(np.float64) - b).mean()) for a, b in itertools.combinations(values, 2)
    ]
    return float(np.mean(pairs)) if pairs else 0.0


def interval(
    values: npt.ArrayLike,
    of: Callable[..., Floats] = np.mean,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % confidence interval of the mean, by the percentile bootstrap (Efron 1979) over queries.

    Of differences of paired values, it is the paired bootstrap's. `of`: another statistic, called
    with `axis=1`. Of equal values every draw gives the same again, which is no certainty: of
    shares see `share_interval`.
    """
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return (float(array[0]), float(array[0])) if len(array) else (0.0, 0.0)
    random = np.random.default_rng(seed)
    found = of(array[random.integers(len(array), size=(draws, len(array)))], axis=1)
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def share_interval(values: npt.ArrayLike, least: float = 0.0) -> tuple[float, float]:
    """As `interval`, of hits (N,) from `least` to 1; -1 for differences of hits.

    Where all are equal, as many as Wilson's interval (1927) allows of N are otherwise: a share of
    z^2 / (N + z^2), .14 of 24 and .56 of 3, each by 1 at the most.
    """
    array = np.asarray(values, np.float64)
    if not len(array) or np.ptp(array) > 0:
        return interval(array)
    others = Z_95**2 / (len(array) + Z_95**2)
    value = float(array[0])
    return max(least, value - others), min(1.0, value + others)


def is_share(measure: str) -> bool:
    """Whether a measure says of each query yes or no."""
    return measure.endswith(("recall_at_1", "recall_at_10")) or measure in ("quoted", "novel")


def ratio_interval(upper: Floats, lower: Floats, draws: int = 1000) -> tuple[float, float]:
    """As `interval`, of mean(upper) / mean(lower) of paired values (N,)."""
    pairs = np.stack([upper, lower], axis=1)

    def ratio(drawn: Floats, axis: int) -> Floats:
        means = drawn.mean(axis=axis)
        return np.asarray(means[:, 0] / np.maximum(means[:, 1], 1e-12), np.float64)

    return interval(pairs, ratio, draws) if len(pairs) > 1 else (float(upper[0] / lower[0]),) * 2


def summary(
    values: npt.ArrayLike,
    unseen: npt.NDArray[np.bool_] | None = None,
    *,
    share: bool = False,
    least: float = 0.0,
) -> dict[str, Any]:
    """Mean, the 95 % interval of it, and of how many; under `unseen` the same of those queries
    alone, where they are two at least and not all. Of hits, say `share`: see `share_interval`."""
    array = np.asarray(values, np.float64)
    low, high = share_interval(array, least) if share else interval(array)
    found: dict[str, Any] = {
        "mean": float(array.mean()),
        "low": low,
        "high": high,
        "n": len(array),
    }
    if unseen is not None and 2 <= unseen.sum() < len(array):
        found["unseen"] = summary(array[unseen], share=share, least=least)
    return found
