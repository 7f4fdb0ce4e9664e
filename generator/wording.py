"""Words within tokens and texts: where they begin and end, and what repeats what.

Knows no decoder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

BLANK = "\u0120"  # how byte-level BPE writes the blank that begins a word
COPIED_WORDS = 4  # so many remembered words in a row are a copy
JOINTS = {"and", "the", "with"}


@dataclass(frozen=True)
class Spelling:
    """What each token of the vocabulary is within a word, as masks (V,)."""

    begins: torch.Tensor  # with a blank before it
    goes_on: torch.Tensor  # letters and digits that continue a word

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Spelling:
        tokens = [str(tokenizer.id_to_token(row)) for row in range(tokenizer.get_vocab_size())]
        begins = torch.tensor([token.startswith(BLANK) for token in tokens])
        return cls(begins, torch.tensor([token.isalnum() for token in tokens]) & ~begins)

    def words(self, ids: Sequence[int]) -> list[tuple[int, ...]]:
        """Runs of tokens that make a word each; punctuation is left out."""
        found: list[tuple[int, ...]] = []
        open_word = False
        for token in ids:
            if self.begins[token]:
                found.append((token,))
            elif self.goes_on[token]:
                found[-1:] = [(*found[-1], token)] if open_word else [*found[-1:], (token,)]
            open_word = bool(self.begins[token] or self.goes_on[token])
        return found

    def cut(self, ids: Sequence[int], most: int) -> tuple[int, ...]:
        """At most `most` tokens, and only whole words where there is more than one."""
        if len(ids) <= most:
            return tuple(ids)
        starts = [place for place in range(1, most + 1) if self.begins[ids[place]]]
        return tuple(ids[: starts[-1] if starts else most])

    def breaks_off(self, ids: Sequence[int], remembered: Collection[tuple[int, ...]]) -> bool:
        """Whether `ids` stop within a remembered word, at what is no remembered word itself."""
        if not ids or not (self.begins[ids[-1]] or self.goes_on[ids[-1]]):
            return False
        last = self.words(ids)[-1]
        return last not in remembered and any(word[: len(last)] == last for word in remembered)


def is_copy(text: str, remembered: Iterable[str]) -> bool:
    """Whether `text` repeats a remembered one: all of it, half of it, or four words in a row.

    Case, punctuation and leading articles do not make a difference.
    """
    words = _words(text)
    return any(
        f" {' '.join(words)} " in f" {' '.join(known)} "
        and (len(words) >= COPIED_WORDS or 2 * len(words) >= len(known))
        for known in map(_words, remembered)
    )


def repeated(text: str) -> int:
    """How often a word comes again ("dog and dog")."""
    words = [word for word in re.findall(r"\w{3,}", text.lower()) if word not in JOINTS]
    return len(words) - len(set(words))


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return words[1:] if len(words) > 1 and words[0] in {"a", "an", "the"} else words
