"""Words within tokens: where they begin and end, and which tokens spell words that there are.

Knows no decoder.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer

BLANK = "\u0120"  # how byte-level BPE writes the blank that begins a word
WORD_LIST = Path(__file__).parent / "weights/words.txt"
SHORT_NUMBER = 2  # digits of a number that needs not be remembered
MARKS = "“”‘’—–…é"
_WORD = re.compile(r"[^\W_]+")
_TWICE = re.compile(r"\b([^\W_]+)\W*\s\W*\1\b", re.IGNORECASE)  # a yo-yo is one word


@dataclass(frozen=True)
class Spelling:
    """What each token of the vocabulary is within a word, as masks (V,), and which words are known.

    `lexicon`: words in lower case, sorted; where it is empty, any word will do.
    """

    begins: torch.Tensor  # with a blank before it
    goes_on: torch.Tensor  # letters and digits that continue a word
    pieces: tuple[bytes, ...]  # of each token, what it writes; of marks nothing
    lexicon: Sequence[str] = ()

    @classmethod
    def of(cls, tokenizer: Tokenizer, lexicon: Sequence[str] = ()) -> Spelling:
        tokens = [str(tokenizer.id_to_token(row)) for row in range(tokenizer.get_vocab_size())]
        begins = torch.tensor([token.startswith(BLANK) for token in tokens])
        goes_on = torch.tensor([token.isalnum() for token in tokens]) & ~begins
        marks = tokenizer.get_added_tokens_decoder()
        pieces = (b"" if row in marks else _bytes_of(each) for row, each in enumerate(tokens))
        return cls(begins, goes_on, tuple(pieces), lexicon)

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

    def text(self, ids: Sequence[int]) -> str:
        """Without the bytes of a character that is not finished."""
        return _decoded(b"".join(self.pieces[token] for token in ids))[0]

    def pending(self, ids: Sequence[int]) -> bool:
        """Whether they end within a character."""
        return bool(_decoded(b"".join(self.pieces[token] for token in ids))[1])

    def may_end(self, ids: Sequence[int], known: Collection[str]) -> bool:
        """Whether `ids` end with a whole character, and after a word that is known."""
        text, pending = _decoded(b"".join(self.pieces[token] for token in ids))
        return not pending and all(self._is_word(word, known) for word in _ending(text))

    def may_follow(self, ids: Sequence[int], token: int, known: Collection[str]) -> bool:
        """Whether `token` goes on from `ids` with whole characters and words that there are.

        Words: those of the lexicon, `known` ones in lower case, and short numbers; none twice in a
        row ("badger badger") but as in `known`. Characters that are not ASCII: those of `known`,
        and common marks.
        """
        if not self.pieces[token]:
            return False
        before = b"".join(self.pieces[each] for each in ids)
        try:
            text, pending = _decoded(before + self.pieces[token])
        except UnicodeDecodeError:
            return False
        seen = len(_decoded(before)[0])
        if any(twice not in known for twice in _doubled(text, seen)):
            return False
        if not self.lexicon:
            return True
        return self._has_characters(text[seen:], pending, known) and all(
            (self._is_word if word.end() < len(text) else self._begins_word)(word.group(), known)
            for word in _WORD.finditer(text)
            if word.end() >= seen
        )

    def _has_characters(self, text: str, pending: bytes, known: Collection[str]) -> bool:
        if text.isascii() and not pending:  # as nearly always, and this is asked for each token
            return True
        there = {*MARKS, *(each for word in known for each in word if not each.isascii())}
        return all(each.isascii() or each.lower() in there for each in text) and (
            not pending
            or any(
                form.encode().startswith(pending) for each in there for form in {each, each.upper()}
            )
        )

    def _is_word(self, word: str, known: Collection[str]) -> bool:
        word = word.lower()
        if not self.lexicon or word in known:
            return True
        if word.isdecimal():
            return len(word) <= SHORT_NUMBER
        place = bisect_left(self.lexicon, word)
        return place < len(self.lexicon) and self.lexicon[place] == word

    def _begins_word(self, start: str, known: Collection[str]) -> bool:
        start = start.lower()
        if start.isdecimal() and len(start) <= SHORT_NUMBER:
            return True
        place = bisect_left(self.lexicon, start)
        if place < len(self.lexicon) and self.lexicon[place].startswith(start):
            return True
        return any(word.startswith(start) for word in known)


def words_in(text: str) -> list[str]:
    """Words and characters that are no ASCII, in lower case, and words that come twice in a row
    ("choo choo"): what `Spelling` may be told of."""
    words = [word.lower() for word in _WORD.findall(text)]
    return [*words, *(c for c in text if not c.isascii()), *_doubled(text)]


@cache
def word_list() -> tuple[str, ...]:
    """The words of the texts that the decoder has learnt from, and of the texts' encoder."""
    return tuple(WORD_LIST.read_text("utf-8").split())


def _doubled(text: str, seen: int = 0) -> list[str]:
    """Words that come twice in a row, as such pairs in lower case; those before `seen` left out."""
    pairs = (found for found in _TWICE.finditer(text) if found.end() >= seen)
    return [f"{pair[1]} {pair[1]}".lower() for pair in pairs]


def _ending(text: str) -> list[str]:
    """The word that `text` ends with, if any."""
    return [word.group() for word in _WORD.finditer(text) if word.end() == len(text)]


def _decoded(written: bytes) -> tuple[str, bytes]:
    """Its whole characters, and the bytes of one that is not finished. Raises UnicodeDecodeError
    where the bytes are the beginning of no text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = decoder.decode(written)
    return text, decoder.getstate()[0]


def _bytes_of(token: str) -> bytes:
    table = _byte_table()
    return bytes(table[each] for each in token) if all(each in table for each in token) else b""


@cache
def _byte_table() -> dict[str, int]:
    """The byte that each character of a byte-level token stands for (Radford et al. 2019).

    Printable ones are themselves, the others the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + place): byte for place, byte in enumerate(others)}
