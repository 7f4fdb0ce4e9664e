"""How alive a memory is: pure functions of what is stored and of the time. Knows no storage.

Each encounter with a memory, storing it and every recall, adds 1, and what was added decays
exponentially (half-life h):

    s(t) = sum over encounters i of 2 ** (-(t - t_i) / h)

This is Mem[t] = decay * Mem[t-1] + e_t of the source document, in continuous time, with e = 1.
The sum over encounters is that of ACT-R's base-level learning (Anderson & Schooler 1991), whose
kernel is a power, t ** -0.5; an exponential kernel (Ebbinghaus 1885 as commonly fitted) needs but
the last value and its time to be carried on, where a power needs the times of all encounters.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMULA = "value = base * 2 ** (-(now - since) / half_life_s); a recall adds 1"
ENCOUNTER = 1.0  # what storing a memory, or recalling it, adds


@dataclass(frozen=True)
class Trail:
    """What is kept of a memory's encounters."""

    base: float  # strength right after the last one
    since: float  # when that was, Unix seconds
    recalls: int = 0
    recalled_at: float | None = None

    @classmethod
    def stored(cls, created_at: float) -> Trail:
        """Of a memory that was never recalled."""
        return cls(ENCOUNTER, created_at)


def remaining(elapsed_s: float, half_life_s: float | None) -> float:
    """The share, in [0, 1], that is left after `elapsed_s`; 1 without a half-life.

    A clock that went backwards takes nothing away and adds nothing.
    """
    if half_life_s is None:
        return 1.0
    return float(2.0 ** -(max(0.0, elapsed_s) / half_life_s))


def strength(trail: Trail, now: float, half_life_s: float | None) -> float:
    """s(now), from 0 on without a bound."""
    return trail.base * remaining(now - trail.since, half_life_s)


def recalled(trail: Trail, now: float, half_life_s: float | None) -> Trail:
    """The trail after one more encounter at `now`."""
    base = strength(trail, now, half_life_s) + ENCOUNTER
    since = max(now, trail.since)
    return Trail(base, since, trail.recalls + 1, since)


def retention(value: float) -> float:
    """Strength in [0, 1): s / (1 + s), 0.5 for a memory just stored.

    ACT-R's probability of retrieval 1 / (1 + exp(-(A - tau) / noise)), with the activation
    A = ln s, tau = 0 and noise = 1.
    """
    return value / (1.0 + value)


def mixed(
    score: float, recency: float, kept: float, recency_weight: float, strength_weight: float
) -> float:
    """The score that a ranking goes by, in [0, 1] as its three parts are.

    (score + w_r * recency + w_s * retention) / (1 + w_r + w_s): the weighted mean of relevance,
    recency and importance of Generative Agents (Park et al. 2023), with importance by use.
    """
    total = score + recency_weight * recency + strength_weight * kept
    return total / (1.0 + recency_weight + strength_weight)
