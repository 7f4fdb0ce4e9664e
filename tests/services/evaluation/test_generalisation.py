"""Folds, the map and its transfer, on cases whose answer is known."""

from typing import Any

import numpy as np
import pytest

from encoders.base import Space, normalize
from encoders.registry import load_profile
from memory_service.services.evaluation import generalisation
from memory_service.services.evaluation.cases import Case, Cases, group_of, value_of
from memory_service.services.evaluation.lab import QUICK, Lab
from memory_service.services.models import Models

D = 12


def lab_of(cases: list[Case]) -> Lab:
    profile = load_profile("fake")
    models = Models("fake", profile.encoders, profile.calibration)
    from contextlib import nullcontext

    return Lab(models, Space("s", D, "f"), Cases(cases), QUICK, 0, lambda label: nullcontext())


def turned(count: int, turn: np.ndarray[Any, Any], *, value: str, seed: int) -> list[Case]:
    """Pictures are their texts' vectors, turned: a map that can be learned from pairs."""
    random = np.random.default_rng(seed)
    texts = normalize(random.standard_normal((count, D)))
    return [
        Case(
            f"{value}-{n}",
            f"{value}-{n}",
            {"text": f"{value} {n}"},
            {"text": text, "image": normalize(text @ turn)},
            {},
            {"folder": f"{value}/deeper"},
            None,
        )
        for n, text in enumerate(texts)
    ]


@pytest.fixture
def turn() -> np.ndarray[Any, Any]:
    return np.linalg.qr(np.random.default_rng(9).standard_normal((D, D)))[0]


def test_folds_part_groups_from_each_other_and_lose_nothing() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5])
    parts = generalisation.folds(groups, 3, np.random.default_rng(0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(10))
    for part in parts:
        rest = np.setdiff1d(np.arange(10), part)
        assert not set(groups[part]) & set(groups[rest])


def test_an_endless_penalty_changes_nothing() -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, 30, D)).astype(np.float32)
    far = generalisation.ridge_towards(np.eye(D), x, y, 1e12)
    np.testing.assert_allclose(far, np.eye(D), atol=1e-6)
    near = generalisation.ridge_towards(np.eye(D), x, y, 1e-9)
    np.testing.assert_allclose(near, np.linalg.lstsq(x, y, rcond=None)[0], atol=1e-3)


def test_cross_validation_finds_the_map_that_is_there(turn: np.ndarray[Any, Any]) -> None:
    lab = lab_of(turned(120, turn, value="a", seed=0))
    (row,) = generalisation.cross_validation(lab)
    assert row["pairs"] == 120
    assert len(row["mapped"]["folds"]) == QUICK.folds
    assert row["chance"] == pytest.approx(0.25)
    assert row["mapped"]["mean"] > 0.95
    assert row["served"]["mean"] < 0.6
    assert row["difference"]["mean"] == pytest.approx(row["mapped"]["mean"] - row["served"]["mean"])


def test_without_a_map_nothing_is_won(turn: np.ndarray[Any, Any]) -> None:
    """Pictures that have nothing to do with their texts stay at chance in every fold."""
    cases = turned(120, turn, value="a", seed=0)
    strangers = turned(120, turn, value="a", seed=1)
    mixed = [
        Case(c.id, c.group, c.media, {**c.vectors, "image": s.vectors["image"]}, {}, {}, None)
        for c, s in zip(cases, strangers, strict=True)
    ]
    (row,) = generalisation.cross_validation(lab_of(mixed))
    assert abs(row["mapped"]["mean"] - row["chance"]) < 0.12


def test_transfer_works_where_the_map_is_the_same(turn: np.ndarray[Any, Any]) -> None:
    other = np.linalg.qr(np.random.default_rng(4).standard_normal((D, D)))[0]
    cases = [
        *turned(60, turn, value="a", seed=0),
        *turned(50, turn, value="b", seed=1),
        *turned(40, other, value="c", seed=2),
    ]
    rows = {row["target"]: row for row in generalisation.transfer(lab_of(cases), "folder")}
    assert set(rows) == {"a", "b", "c"}
    assert rows["b"]["trained_on"]["a"] > 0.95
    assert rows["b"]["trained_on"]["c"] < 0.6
    assert rows["a"]["cases"] == 60


def test_a_classifier_of_what_vectors_tell(turn: np.ndarray[Any, Any]) -> None:
    def moved(case: Case, by: float) -> Case:
        vectors = {m: normalize(v + by) for m, v in case.vectors.items()}
        return Case(case.id, case.group, case.media, vectors, {}, case.metadata, None)

    cases = [
        *(moved(c, 0.4) for c in turned(60, turn, value="a", seed=0)),
        *(moved(c, -0.4) for c in turned(40, turn, value="b", seed=1)),
    ]
    rows = generalisation.classification(lab_of(cases), "folder")
    assert [row["modality"] for row in rows] == ["image", "text"]
    for row in rows:
        assert row["accuracy"]["mean"] > 0.9
        assert 0.4 < row["most_common"]["mean"] < 0.75


def test_what_means_the_same() -> None:
    assert group_of({}, "A Red  Fox!", "e") == group_of({}, "a red fox", "f")
    assert group_of({"concept": "fox"}, "a red fox", "e") == "fox"
    assert group_of({"concept": 3}, None, "e") == "e"


def test_the_first_part_of_a_path_is_its_value(turn: np.ndarray[Any, Any]) -> None:
    (case,) = turned(1, turn, value="animals", seed=0)
    assert value_of(case, "folder") == "animals"
    assert value_of(case, "missing") is None
