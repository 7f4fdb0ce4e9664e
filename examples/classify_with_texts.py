"""Do generated texts help a classifier of pictures? Measured, with and without, over folds.

    python examples/classify_with_texts.py samples/tuxpaint-stamps

Stamps are sorted into their folders (animals, food, plants ...) by ridge regression on the
picture's vector; on the vector of a text that the service generates for the picture; and on both.
Each text is made from a memory that holds the other folds only, never the picture's own caption.
Prints accuracies with standard errors, and the paired difference. Needs a running service:
memory-service serve
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memory_service.client import DEFAULT_URL, Client
from memory_service.client.scripts import plain_errors
from memory_service.importer import Bundle, scan, store_bundles

FOLDS = 5
FEWEST = 12  # pictures of a folder that is one of the classes
PENALTY = 1.0
NAMESPACE = "classify"
EMBEDDED_AT_ONCE = 16  # as many as a service takes by default

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """By picture: whether each of the classifiers was right."""

    classes: tuple[str, ...]
    correct: dict[str, npt.NDArray[np.bool_]]
    most_common: float  # accuracy of always saying the most frequent class
    texts: tuple[str, ...]

    def accuracy(self, name: str) -> tuple[float, float]:
        """And its standard error."""
        right = self.correct[name]
        return float(right.mean()), float(right.std(ddof=1) / np.sqrt(len(right)))

    def gain(self) -> tuple[float, float]:
        """Of both over the picture alone, picture by picture, and its standard error."""
        both = self.correct["picture and text"].astype(float)
        difference = both - self.correct["picture"]
        return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def labelled(folder: Path) -> list[tuple[Bundle, str]]:
    """Pictures with a text, of the folders that have enough of them."""
    found = [b for b in scan(folder).bundles if b.image and b.text and "/" in b.path]
    counts = Counter(bundle.path.split("/")[0] for bundle in found)
    return [
        (bundle, label) for bundle in found if counts[label := bundle.path.split("/")[0]] >= FEWEST
    ]


def folds(texts: list[str], seed: int = 0) -> npt.NDArray[np.int64]:
    """(N,): the fold of each; equal texts are in one fold."""
    names = sorted(set(texts))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {name: int(place) % FOLDS for name, place in zip(names, order, strict=True)}
    return np.array([fold_of[text] for text in texts], np.int64)


def generated(client: Client, bundles: list[Bundle], fold: npt.NDArray[np.int64]) -> list[str]:
    """A text for each picture, from what the other folds hold."""
    texts = [""] * len(bundles)
    for held in range(FOLDS):
        namespace = f"{NAMESPACE}-{held}"
        known = [b for b, number in zip(bundles, fold, strict=True) if number != held]
        store_bundles(client, known, namespace=namespace, on_outcome=lambda outcome: None)
        for place in np.flatnonzero(fold == held):
            made = client.generate(
                image=bundles[place].image[0],
                output="text",
                namespace=namespace,
                creativity=0.0,
                seed=0,
                reinforce=False,
            )
            texts[place] = made.outputs[0].text or ""
    return texts


def predicted(
    features: Floats, labels: npt.NDArray[np.int64], fold: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(N,): the class of each, by ridge regression on the other folds (one row per class)."""
    found = np.zeros(len(labels), np.int64)
    wanted = np.eye(labels.max() + 1)[labels]
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        middle, centre = wanted[train].mean(axis=0), features[train].mean(axis=0)
        x = features[train] - centre
        left = x.T @ x + PENALTY * np.eye(x.shape[1])
        weights = np.linalg.solve(left, x.T @ (wanted[train] - middle))
        found[test] = ((features[test] - centre) @ weights + middle).argmax(axis=1)
    return found


def vectors(client: Client, modality: str, items: Sequence[str | Path]) -> Floats:
    """(N, D): as the service has them."""
    found = [
        each.vector
        for start in range(0, len(items), EMBEDDED_AT_ONCE)
        for each in client.embed(media={modality: items[start : start + EMBEDDED_AT_ONCE]})
    ]
    return np.stack(found).astype(np.float64)


def measure(client: Client, folder: Path) -> Result:
    pairs = labelled(folder)
    bundles = [bundle for bundle, _ in pairs]
    classes = tuple(sorted({label for _, label in pairs}))
    if len(classes) < 2:
        raise ValueError(f"{folder} has no two folders with {FEWEST} pictures and texts each")
    labels = np.array([classes.index(label) for _, label in pairs], np.int64)
    fold = folds([bundle.text[0].read_text("utf-8").strip().lower() for bundle in bundles])
    texts = generated(client, bundles, fold)
    shown = vectors(client, "image", [bundle.image[0] for bundle in bundles])
    said = vectors(client, "text", texts)
    features = {
        "picture": shown,
        "generated text": said,
        "picture and text": np.concatenate([shown, said], axis=1),
    }
    right = {name: predicted(x, labels, fold) == labels for name, x in features.items()}
    common = np.bincount(labels).max() / len(labels)
    return Result(classes, right, float(common), tuple(texts))


def main(folder: Path) -> None:
    with Client(os.environ.get("MEMORY_SERVICE_URL", DEFAULT_URL)) as client:
        result = measure(client, folder)
    count = len(result.correct["picture"])
    print(f"{count} pictures, {len(result.classes)} classes: {', '.join(result.classes)}")
    print(f"always the most common: {result.most_common:.3f}")
    for name in result.correct:
        mean, error = result.accuracy(name)
        print(f"{name}: {mean:.3f} (standard error {error:.3f})")
    gain, error = result.gain()
    verdict = (
        "helps" if gain > 2 * error else "hurts" if gain < -2 * error else "makes no difference"
    )
    print(f"the text adds {gain:+.3f} (standard error {error:.3f}): it {verdict} here")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default="samples/tuxpaint-stamps")
    with plain_errors():
        main(parser.parse_args().folder)
