"""Names and definitions of things from WordNet, as texts that a small decoder learns to write.

Knows nothing about models. WordNet 3.0 comes with the Debian package `wordnet-base`; where that is
not installed, it is fetched with the ordinary Debian client into a cache folder (no root needed).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from generator.training.errors import Refused

INSTALLED = Path("/usr/share/wordnet")
# Lexicographer files of things that can be seen or heard: animal, artifact, body, food, location,
# object, person, plant, shape, substance. Others only where the sense was met in tagged text.
CONCRETE = {"05", "06", "08", "13", "15", "17", "18", "20", "25", "27"}
ACT = "04"
ABSTRACT = {ACT, "07", "10", "11", "12", "14", "19", "26", "28"}
UNWANTED = (
    "offensive",
    "obscene",
    "disparag",
    "slur",
    "vulgar",
    "derogat",
    "slang",
    "term of abuse",
)
MAX_WORDS = 14  # of a definition: longer ones do not fit the decoder's 24 tokens


class Synset(NamedTuple):
    """One meaning: its first name and the first clause of its definition."""

    name: str
    definition: str
    concrete: bool
    tagged: bool  # met at least once in the corpora that WordNet's counts come from
    activity: bool = False  # such as sailing: it takes no article


def find_wordnet(cache: Path) -> Path:
    """The folder with `data.noun`; Refused where neither Debian package nor client exists."""
    if (INSTALLED / "data.noun").is_file():
        return INSTALLED
    folder = cache / "wordnet-base"
    if not (folder / "usr/share/wordnet/data.noun").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "wordnet-base"], cwd=folder, check=True)
            package = next(folder.glob("wordnet-base_*.deb"))
            subprocess.run(["dpkg", "-x", package.name, "."], cwd=folder, check=True)
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            raise Refused("WordNet is needed: install the package wordnet-base") from error
    return folder / "usr/share/wordnet"


def synsets(folder: Path) -> Iterator[Synset]:
    """Noun synsets, named by their first lemma where it is in lower case; no genera, no slurs."""
    tagged = _tagged_senses(folder)
    for line in (folder / "data.noun").read_text("utf-8", "replace").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields, _, gloss = line.partition(" | ")
        parts = fields.split()
        name = parts[4].replace("_", " ")
        if name != name.lower() or name.startswith("genus ") or not name.replace(" ", "").isalpha():
            continue
        if any(mark in gloss for mark in UNWANTED):
            continue
        definition = gloss.split(";")[0].strip(" ()").replace("`", "'")
        if definition.count(" ") >= MAX_WORDS or not definition:
            continue
        is_tagged = f"{parts[4]}:{parts[1]}" in tagged
        if parts[1] in CONCRETE or (parts[1] in ABSTRACT and is_tagged):
            activity = parts[1] == ACT and name.endswith("ing")
            yield Synset(name, definition, parts[1] in CONCRETE, is_tagged, activity)


def _tagged_senses(folder: Path) -> set[str]:
    """`lemma:lexicographer file` of every noun sense in `cntlist.rev` (key, sense, count)."""
    keys: set[str] = set()
    for line in (folder / "cntlist.rev").read_text("utf-8", "replace").splitlines():
        lemma, _, rest = line.split()[0].partition("%")
        if rest.startswith("1:"):  # 1 = noun
            keys.add(f"{lemma}:{rest.split(':')[1]}")
    return keys


def captioned(synset: Synset) -> str:
    """Its name as a caption would say it: "An owl.", "Sailing."."""
    name = synset.name
    return f"{name[0].upper()}{name[1:]}." if synset.activity else article(name)


def article(name: str) -> str:
    """`name` with its indefinite article, as a caption: "An owl."."""
    return f"{'An' if name[0] in 'aeiou' else 'A'} {name}."
