"""Texts as the text tower of `bundled` wants them: ids of word pieces, by the `tokenizers` package.

The same ids as open_clip's tokenizer gives, without transformers. Knows nothing about models.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Ids = npt.NDArray[np.int64]


class WordPieces:
    """Safe to call from several threads: nothing is changed after the start."""

    def __init__(self, folder: Path) -> None:
        """Read `tokenizer.json`, and the context length from `open_clip_config.json`."""
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(config["model_cfg"]["text_cfg"]["context_length"])
        self._tokenizer.no_padding()
        self._pad = json.loads((folder / "config.json").read_text(encoding="utf-8"))["pad_token_id"]

    def __call__(self, texts: Sequence[str], step: int = 1) -> Ids:
        """(B, T): padded to the longest; what exceeds the context length is not read.

        T is a multiple of `step`.
        """
        found = self._tokenizer.encode_batch_fast([_clean(text) for text in texts])
        longest = max(len(each.ids) for each in found)
        ids = np.full((len(found), -(-longest // step) * step), self._pad, np.int64)
        for row, each in zip(ids, found, strict=True):
            row[: len(each.ids)] = each.ids
        return ids


def _clean(text: str) -> str:
    """As open_clip does before it tokenizes: broken encodings, entities, white space."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
