"""The words of the texts that the caption decoder has learnt from, and of the texts' encoder:
`python -m generator.training.words` writes the list that generated texts are spelt by.

Words of held-out captions are in it only where WordNet or the encoder has them.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from encoders.training.data.records import load_collection
from generator.spelling import WORD_LIST
from generator.training.text_data import caption_texts, wordnet_texts

ENCODER = Path(__file__).parents[2] / "encoders/weights/bundled/tokenizer.json"


def words_of(texts: list[str], pieces: list[str]) -> list[str]:
    """In lower case, of ASCII letters alone, sorted."""
    found = {word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())}
    # Of the encoder's, inflections of those: others are names and syllables.
    found |= {piece for piece in pieces if piece.isalpha() and _inflects(piece, found)}
    return sorted(word for word in found if word.isascii())


def _inflects(word: str, stems: set[str]) -> bool:
    return any(
        word.endswith(ending)
        and len(word) > len(ending) + 2
        and word.removesuffix(ending) + e in stems
        for ending in ("s", "es", "d", "ed", "ing", "ly", "er", "est")
        for e in ("", "e")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("collection"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="for WordNet")
    arguments = parser.parse_args()
    records = [each for each in load_collection(arguments.data) if each.split == "train"]
    captions = caption_texts([each.caption for each in records], [each.tags for each in records])
    pieces = list(json.loads(ENCODER.read_text("utf-8"))["model"]["vocab"])
    words = words_of([*wordnet_texts(arguments.cache), *captions], pieces)
    WORD_LIST.write_text("\n".join(words) + "\n", "utf-8")


if __name__ == "__main__":
    main()
