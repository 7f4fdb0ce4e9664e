"""The steps of the demonstration, each over HTTP: recall, generate, forget and recall again.

Raises `DemoError` as soon as a step returns nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memory_service.client import Client, Generation, Hit, Memory, Retrieval
from memory_service.demo.findings import Answer, Creation, FoundItem, Item, Made, Section, Source
from memory_service.demo.plan import CREATIVITY, SEED, Plan
from memory_service.demo.service import DemoError
from memory_service.importer import Bundle

SHOWN = 10  # hits per question, over all modalities asked for
SUFFIX = {"image": ".png", "text": ".txt", "audio": ".wav"}


class Walk:
    """Asks one service.

    `episodes`: id of the episode of each bundle, by path. `splits`: "train" or another split of the
    models' training for each path, as far as known.
    """

    def __init__(
        self,
        client: Client,
        bundles: Sequence[Bundle],
        episodes: Mapping[str, str],
        splits: Mapping[str, str],
    ) -> None:
        self.client = client
        self.episodes = dict(episodes)
        self.splits = splits
        self.captions = {
            episodes[bundle.path]: caption(bundle) for bundle in bundles if bundle.path in episodes
        }
        self._contents: dict[str, bytes] = {}

    def recall(self, plan: Plan) -> Iterator[Section]:
        """Text to pictures and sounds, pictures to texts and sounds, sounds to pictures."""
        yield Section(
            "Texts find pictures and sounds",
            "None of these sentences is in memory.",
            tuple(self.ask_text(text, ("image", "audio")) for text in plan.texts),
        )
        yield Section(
            "Pictures find texts and sounds",
            "These very pictures are in memory: their own episode should lead; likeness "
            "brings the rest.",
            tuple(self.ask(bundle, "image", ("text", "audio")) for bundle in plan.pictures),
        )
        yield Section(
            "Sounds find pictures",
            "These very sounds are in memory: their own episode should lead; likeness "
            "brings the rest.",
            tuple(self.ask(bundle, "audio", ("image",)) for bundle in plan.sounds),
        )

    def listen(self, spoken: Mapping[str, bytes]) -> Section:
        """Words, by what they are, as somebody says them."""
        return Section(
            "Spoken words find pictures",
            "The words are said by espeak-ng, in a voice that the bundled models were not trained "
            "on; none of these sounds is in memory. Some words are heard as others that sound like "
            "them: what comes first is what was understood.",
            tuple(self.ask_spoken(word, sound, ("image",)) for word, sound in spoken.items()),
        )

    def forget(self, plan: Plan) -> Section:
        """Delete episodes, then ask with their sounds again. What is forgotten must not return."""
        gone = {self.episodes.pop(bundle.path): bundle for bundle in plan.forget}
        for episode_id in gone:
            if not self.client.forget_episode(episode_id).memory_ids:
                raise DemoError(f"episode {episode_id} was not forgotten")
        answers = tuple(self.ask(bundle, "audio", ("image", "text")) for bundle in gone.values())
        for answer in answers:
            for hits in answer.raw["results"].values():
                if any(hit["memory"]["episode_id"] in gone for hit in hits):
                    raise DemoError(f"{answer.query.caption} was forgotten, and was found")
        return Section(
            "After forgetting",
            "The episodes of these sounds have been deleted: the answer can only come from what "
            "is left, by likeness.",
            answers,
        )

    def ask_text(self, text: str, into: tuple[str, ...]) -> Answer:
        started = time.monotonic()
        found = self.client.retrieve(text=text, modalities=into, k=SHOWN // len(into))
        query = Item("text", text.encode(), "text/plain", text)
        return self._answer(query, found, into, None, time.monotonic() - started)

    def ask_spoken(self, word: str, sound: bytes, into: tuple[str, ...]) -> Answer:
        started = time.monotonic()
        found = self.client.retrieve(audio=sound, modalities=into, k=SHOWN // len(into))
        media_type = "audio/wav" if sound[:4] == b"RIFF" else "audio/flac"
        query = Item("audio", sound, media_type, f"“{word}”, spoken")
        return self._answer(query, found, into, None, time.monotonic() - started)

    def ask(self, bundle: Bundle, modality: str, into: tuple[str, ...]) -> Answer:
        query = file_item(bundle, modality)
        started = time.monotonic()
        if modality == "image":
            found = self.client.retrieve(image=query.content, modalities=into, k=SHOWN // len(into))
        else:
            found = self.client.retrieve(audio=query.content, modalities=into, k=SHOWN // len(into))
        elapsed = time.monotonic() - started
        return self._answer(query, found, into, bundle, elapsed)

    def _answer(
        self,
        query: Item,
        found: Retrieval,
        into: tuple[str, ...],
        bundle: Bundle | None,
        elapsed: float,
    ) -> Answer:
        """`bundle`: where the query was taken from."""
        own = self.episodes.get(bundle.path) if bundle else None
        for modality in into:
            if not found.hits.get(modality):
                raise DemoError(f"{query.modality} {query.caption!r} found no {modality}")
        hits = {
            modality: tuple(self._found(hit, own) for hit in found.hits[modality])
            for modality in into
        }
        own_in = frozenset(m for m in into if own and getattr(bundle, m))
        split = self.splits.get(bundle.path) if bundle else None
        unseen = None if split is None else split == "test"
        return Answer(query, hits, own_in, unseen, elapsed * 1000, found.raw)

    def _found(self, hit: Hit, own: str | None) -> FoundItem:
        ways = [f"via {way.via_modality}" if way.via else way.path for way in hit.reached_by]
        return FoundItem(
            self.item(hit.memory),
            hit.score,
            hit.cosine,
            " + ".join(dict.fromkeys(ways)),
            hit.memory.episode_id == own,
            hit.memory.id,
        )

    def item(self, memory: Memory) -> Item:
        """The memory with its bytes, fetched once."""
        if memory.id not in self._contents:
            self._contents[memory.id] = self.client.content(memory.id)
        known = memory.text or self.captions.get(memory.episode_id, "")
        content = self._contents[memory.id]
        return Item(memory.modality, content, memory.media_type, " ".join(known.split()))

    def generate(self, text: str, bundle: Bundle, out: Path) -> Creation:
        """Pictures at several creativities, a text and a sound, from a text and a picture."""
        picture = file_item(bundle, "image")
        started = time.monotonic()
        generations = [
            self.client.generate(
                text=text,
                image=picture.content,
                output=("image", "text", "audio") if first else ("image",),
                creativity=creativity,
                seed=SEED,
            )
            for creativity, first in zip(CREATIVITY, (False, True, False, False), strict=True)
        ]
        elapsed = time.monotonic() - started
        made = [part for generation in generations for part in self.made(text, generation, out)]
        if {part.item.modality for part in made} != {"image", "text", "audio"}:
            raise DemoError(f"{text!r} did not generate a picture, a text and a sound")
        whole = generations[1]
        replayed = all(self.client.replay(whole.id).values())
        raw = {"query": {"text": text, "picture": bundle.path}, "generations": _plain(generations)}
        sources = self._sources(whole)
        return Creation(text, picture, sources, tuple(made), replayed, elapsed * 1000, raw)

    def made(self, text: str, generation: Generation, out: Path) -> list[Made]:
        """The outputs, each as a file of the output folder, too."""
        made = []
        for part in generation.outputs:
            if not part.content:
                raise DemoError(f"{text!r} generated an empty {part.modality}")
            slug = "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
            level = f"-{generation.creativity:g}" if part.modality == "image" else ""
            name = f"generated-{slug}{level}{SUFFIX[part.modality]}"
            (out / name).write_bytes(part.content)
            item = Item(part.modality, part.content, part.media_type, part.text or "")
            made.append(Made(item, name, generation.creativity, part.novelty, generation.id))
        return made

    def _sources(self, generation: Generation) -> tuple[Source, ...]:
        if not generation.memories:
            raise DemoError(f"generation {generation.id} names no memory")
        return tuple(
            Source(self.item(self.client.memory(share.memory_id)), share.weight, share.cosine)
            for share in sorted(generation.memories, key=lambda share: -share.weight)
        )


def caption(bundle: Bundle) -> str:
    """The text of a bundle, else its name."""
    for path in bundle.text:
        return " ".join(path.read_text(errors="replace").split())
    return bundle.path.rpartition("/")[2]


def file_item(bundle: Bundle, modality: str) -> Item:
    path: Path = getattr(bundle, modality)[0]
    media_type = {"image": "image", "audio": "audio"}[modality] + "/" + path.suffix.lstrip(".")
    return Item(modality, path.read_bytes(), media_type, caption(bundle))


def _plain(generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """The answers without the media, which are files beside them."""
    return [
        {
            **generation.raw,
            "outputs": [
                {name: value for name, value in output.items() if name != "data"}
                for output in generation.raw["outputs"]
            ],
        }
        for generation in generations
    ]
