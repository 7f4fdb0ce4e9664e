"""`python -m benchmarks.dynamics`: when decay, strength and priming help recall, and when not.

A stream of sessions, each about one topic of WordNet (animals, food, tools ...). A session stores
senses of its topic, then asks. The words asked for are ambiguous: each has a sense in at least two
topics, and the memory holds them all, so likeness alone cannot know which one is needed. What
decides it differs by regime:

- topic: the sense that belongs to the topic of the present session, stored of late;
- habit: a sense out of few that are needed again and again (Zipf), whenever they were stored;
- old: the sense of the word that was stored first;
- uniform: any sense of the word;
- exact: any sense, asked for by a part of its definition, where likeness alone does well.

The real services run, with the bundled text encoder, on a clock that the simulation turns. All
ways of ranking are asked the same questions in the same state: each question is measured without
reinforcement, then the needed memory is recalled, as by a caller that used it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from generator.training.wordnet import UNWANTED, find_wordnet
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.records import QueryPart, Upload, Weights
from memory_service.settings import Settings

TOPICS = {"05": "animal", "06": "artifact", "08": "body", "13": "food", "17": "object"} | {
    "18": "person",
    "20": "plant",
    "04": "act",
    "10": "communication",
    "15": "location",
}
SESSIONS = 40
STORED = 30  # per session
ASKED = 10  # per session and regime
STEP_S = 60.0
HALF_LIFE_S = 3600.0  # about one and a half sessions
TRACE_HALF_LIFE_S = 1200.0
FOREVER, FADING = "forever", "fading"  # namespaces: traces without and with a half-life
K = 10

WAYS: dict[str, tuple[str, Weights]] = {
    "nearest": (FOREVER, Weights()),
    "recency .1": (FOREVER, Weights(recency=0.1)),
    "recency 1": (FOREVER, Weights(recency=1.0)),
    "strength .1": (FOREVER, Weights(strength=0.1)),
    "strength 1": (FOREVER, Weights(strength=1.0)),
    "context .3, trace for ever": (FOREVER, Weights(context=0.3)),
    "context .1, trace fades": (FADING, Weights(context=0.1)),
    "context .3, trace fades": (FADING, Weights(context=0.3)),
    "context 1, trace fades": (FADING, Weights(context=1.0)),
    "all three .1": (FADING, Weights(context=0.1, recency=0.1, strength=0.1)),
}
REGIMES = ("topic", "habit", "old", "uniform", "exact")


@dataclass(frozen=True)
class Sense:
    word: str
    topic: str
    gloss: str

    @property
    def text(self) -> str:
        return f"{self.word}: {self.gloss}"


class Time:
    """The clock of the simulation."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at


def ambiguous(folder: Path, rng: np.random.Generator, words: int) -> list[Sense]:
    """All senses, in the topics, of `words` single words that have one in at least two of them."""
    senses: dict[str, dict[str, Sense]] = defaultdict(dict)  # by word, the first of each topic
    for line in (folder / "data.noun").read_text("utf-8", "replace").splitlines():
        fields, _, gloss = line.partition(" | ")
        parts = fields.split()
        if line.startswith("  ") or parts[1] not in TOPICS or any(x in gloss for x in UNWANTED):
            continue
        definition = gloss.split(";")[0].strip(" ()")
        for word in parts[4 : 4 + 2 * int(parts[3], 16) : 2]:
            if word.isalpha() and word.islower() and len(definition.split()) >= 4:
                sense = Sense(word, TOPICS[parts[1]], definition)
                senses[word].setdefault(sense.topic, sense)
    several = sorted(word for word, found in senses.items() if len(found) >= 2)
    chosen = rng.choice(several, min(words, len(several)), replace=False)
    return [sense for word in chosen for sense in senses[str(word)].values()]


def sessions(senses: Sequence[Sense], rng: np.random.Generator) -> list[tuple[str, list[Sense]]]:
    """Topic and what is stored, per session; topics come back, in turns drawn by their size."""
    waiting: dict[str, list[Sense]] = defaultdict(list)
    for number in rng.permutation(len(senses)):
        waiting[senses[number].topic].append(senses[number])
    stream: list[tuple[str, list[Sense]]] = []
    while waiting and len(stream) < SESSIONS:
        sizes = np.array([len(each) for each in waiting.values()], float)
        topic = str(rng.choice(list(waiting), p=sizes / sizes.sum()))
        stream.append((topic, waiting[topic][:STORED]))
        waiting[topic] = waiting[topic][STORED:]
        if not waiting[topic]:
            del waiting[topic]
    return stream


class Simulation:
    """One stream through one application."""

    def __init__(self, app: Application, time: Time, rng: np.random.Generator) -> None:
        self.app = app
        self.time = time
        self.rng = rng
        self.stored: list[Sense] = []
        self.habits: list[Sense] = []
        self.ranks: dict[tuple[str, str], list[int]] = defaultdict(list)  # 0: not among the k

    def run(self, stream: Sequence[tuple[str, Sequence[Sense]]]) -> None:
        for number, (topic, senses) in enumerate(stream):
            for sense in senses:
                self.time.at += STEP_S
                self._store(sense)
            if number >= 4:  # before, hardly a word has more than one of its senses there
                self._ask(topic, senses)

    def _store(self, sense: Sense) -> None:
        for namespace in (FOREVER, FADING):
            self.app.memory.store([Upload("text", sense.text.encode())], namespace=namespace)
        self.stored.append(sense)

    def _ask(self, topic: str, fresh: Sequence[Sense]) -> None:
        open_words = [word for word, found in self._by_word().items() if len(found) > 1]
        present = [sense for sense in fresh if sense.word in open_words]
        wanted = [sense for sense in self.stored if sense.word in open_words]
        for regime in REGIMES:
            for _ in range(ASKED):
                self.time.at += STEP_S / 10
                need = self._need(regime, present, wanted)
                if need is not None:
                    self._measure(regime, need)

    def _by_word(self) -> Mapping[str, list[Sense]]:
        found: dict[str, list[Sense]] = defaultdict(list)
        for sense in self.stored:
            found[sense.word].append(sense)
        return found

    def _need(self, regime: str, present: Sequence[Sense], wanted: Sequence[Sense]) -> Sense | None:
        if not wanted or (regime == "topic" and not present):
            return None
        if regime == "topic":
            return present[self.rng.integers(len(present))]
        if regime == "habit":
            if len(self.habits) < 20:
                self.habits.append(wanted[self.rng.integers(len(wanted))])
            rank = int(self.rng.zipf(1.5)) - 1
            return self.habits[min(rank, len(self.habits) - 1)]
        sense = wanted[self.rng.integers(len(wanted))]
        if regime == "old":
            return self._by_word()[sense.word][0]
        return sense

    def _measure(self, regime: str, need: Sense) -> None:
        words = need.gloss.split()
        query = " ".join(words[: max(3, len(words) // 2)]) if regime == "exact" else need.word
        for way, (namespace, weights) in WAYS.items():
            found = self.app.retriever.retrieve(
                [QueryPart("text", query.encode())],
                namespace=namespace,
                modalities=["text"],
                mode="direct",
                k=K,
                weights=weights,
                reinforce=False,
            ).hits["text"]
            texts = [hit.memory.text for hit in found]
            rank = texts.index(need.text) + 1 if need.text in texts else 0
            self.ranks[way, regime].append(rank)
        if regime == "habit":  # needs of the others come once: nothing would be learned from them
            for namespace in (FOREVER, FADING):
                self.app.retriever.retrieve(
                    [QueryPart("text", need.text.encode())],
                    namespace=namespace,
                    modalities=["text"],
                    mode="direct",
                    k=1,
                )


def figures(ranks: Sequence[int], base: Sequence[int]) -> dict[str, float]:
    """Of one way and regime; `gain` in MRR over nearest, with the standard error of the pairs."""
    reciprocal = np.array([1 / rank if rank else 0.0 for rank in ranks])
    gain = reciprocal - np.array([1 / rank if rank else 0.0 for rank in base])
    array = np.array(ranks)
    return {
        "questions": len(ranks),
        "mrr": float(reciprocal.mean()),
        "recall_at_1": float((array == 1).mean()),
        "recall_at_10": float((array > 0).mean()),
        "mrr_gain": float(gain.mean()),
        "mrr_gain_error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
    }


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    shown = Table("ranking", title="MRR of what is needed (recall@1), best of 10")
    for regime in REGIMES:
        shown.add_column(regime, justify="right")
    for way, regimes in results.items():
        cells = []
        for regime in REGIMES:
            found = regimes[regime]
            sure = abs(found["mrr_gain"]) > 2 * found["mrr_gain_error"]
            mark = ("+" if found["mrr_gain"] > 0 else "-") if sure else " "
            cells.append(f"{found['mrr']:.2f}{mark} ({found['recall_at_1']:.2f})")
        shown.add_row(way, *cells)
    return shown


def simulate(words: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    rng = np.random.default_rng(seed)
    senses = ambiguous(find_wordnet(Path("runs/wordnet")), rng, words)
    time = Time()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder) / "data", profile="bundled", half_life_s=HALF_LIFE_S
        )
        with build(settings, time) as app:
            app.namespaces.configure(FADING, {"trace_half_life_s": TRACE_HALF_LIFE_S})
            simulation = Simulation(app, time, rng)
            simulation.run(sessions(senses, rng))
    ranks = simulation.ranks
    return {
        way: {regime: figures(ranks[way, regime], ranks["nearest", regime]) for regime in REGIMES}
        for way in WAYS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall with memory dynamics against nearest.")
    parser.add_argument("--words", type=int, default=600, help="ambiguous words")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/dynamics.json"))
    arguments = parser.parse_args()
    results = simulate(arguments.words, arguments.seed)
    console = Console(width=110)
    console.print(table(results))
    console.print("+ and -: MRR differs from nearest by more than two standard errors")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    given = {"words": arguments.words, "seed": arguments.seed}
    ways = {way: {"trace": name, **asdict(weights)} for way, (name, weights) in WAYS.items()}
    arguments.out.write_text(json.dumps({**given, "ways": ways, "results": results}, indent=1))
    console.print(f"figures: {arguments.out}")


if __name__ == "__main__":
    main()
