"""Measures of texts without models."""

import pytest

from memory_service.services.evaluation.wording import Cider, distinct, same

CORPUS = ["A red fox.", "A blue whale.", "A red ship at sea.", "A whale at sea."]


def test_cider_is_ten_for_the_same_and_nothing_for_strangers() -> None:
    cider = Cider(CORPUS)
    assert cider("a red FOX", "A red fox.") == pytest.approx(10)
    assert cider("two green frogs", "A red fox.") == 0
    assert cider("", "A red fox.") == 0


def test_what_is_rare_counts_more_than_what_all_have() -> None:
    cider = Cider(CORPUS)
    assert cider("a fox", "A red fox.") > cider("a red", "A red fox.") > 0
    assert Cider(CORPUS)("a", "A red fox.") == 0  # in every text of the corpus


def test_distinct_runs_of_words() -> None:
    assert distinct(["a fox", "a fox"], 1) == 0.5
    assert distinct(["a fox", "a whale"], 2) == 1
    assert distinct([""], 1) == 0


def test_the_same_words() -> None:
    assert same("A fox!", "a  fox")
    assert not same("A fox", "A fox cub")
