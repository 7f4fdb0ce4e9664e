"""Train the caption decoder: `python -m generator.training.train text`.

Seeded and resumable; prints the loss of every epoch beside that of held-out captions.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from encoders.base import Vectors
from encoders.training.data import Item, load_collection
from encoders.training.features import picture_vectors_from_cache
from encoders.training.precision import mixed_precision
from generator.checkpoint import save_weights
from generator.text import (
    CAPTION,
    FUSED,
    IGNORED,
    NEIGHBOUR,
    QUERY,
    TARGET,
    CaptionDecoder,
    TextSettings,
    special_tokens,
)
from generator.training.arguments import training_parser
from generator.training.text_data import (
    Encode,
    Example,
    Texts,
    cached_neighbours,
    caption_texts,
    make_example,
    neighbours_of,
    pairs_of,
    tidy_caption,
    train_tokenizer,
    vectors_of,
    wordnet_texts,
)

Batch = dict[str, torch.Tensor]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("text", __doc__, learning_rate=1e-3, epoch_steps=250)
    parser.add_argument("--encoder-cache", type=Path, default=Path("runs/encoders"))
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--stop-at", type=int, default=None, help="leave off early; resume later")
    parser.add_argument("--batch-size", type=int, default=32)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and write weights, tokenizer and settings after every epoch."""
    args = parse(argv)
    torch.manual_seed(args.seed)
    data, held_out = load_texts(args)
    tokenizer = load_tokenizer(args)
    settings = TextSettings(vocabulary=tokenizer.get_vocab_size())
    decoder = CaptionDecoder(settings, *special_tokens(tokenizer)).to(args.device)
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=args.learning_rate, weight_decay=0.05, betas=(0.9, 0.98)
    )
    step = restore(args.runs / "checkpoint.pt", decoder, optimizer) if args.resume else 0
    if step == 0:
        initialise(decoder, tokenizer, text_encoder())
    print(f"{len(data.texts)} texts, {sum(p.numel() for p in decoder.parameters())} parameters")
    tokens = [e.ids for e in tokenizer.encode_batch(data.texts, add_special_tokens=False)]
    near = cached_neighbours(data.vectors, 8, args.cache)
    validation = held_out_batches(held_out, tokenizer, decoder, args)
    batches = example_batches(data, near, tokens, decoder, args, step)
    while step < min(args.steps, args.stop_at or args.steps):
        start, total = time.monotonic(), 0.0
        decoder.train()
        for _ in range(args.epoch_steps):
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * schedule(step, args.steps)
            total += train_step(decoder, optimizer, next(batches), args.device)
            step += 1
        seconds = time.monotonic() - start
        print(
            f"step {step}/{args.steps} loss {total / args.epoch_steps:.3f} "
            f"held-out captions {evaluate(decoder, validation, args.device):.3f} "
            f"{args.epoch_steps * args.batch_size / seconds:.0f} texts/s",
            flush=True,
        )
        state = {"step": step, "model": decoder.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, args.runs / "checkpoint.pt")
        export(decoder, tokenizer, args.weights)


@torch.no_grad()
def initialise(decoder: CaptionDecoder, tokenizer: Tokenizer, encode: Encode) -> None:
    """Start the word embeddings from the vectors of the words, and the projection to match.

    Both are the same principal components of the space, so a vector already points at its words
    before the first step; from random embeddings that takes most of a short training.
    """
    words = [tokenizer.decode([row]).strip() or "?" for row in range(tokenizer.get_vocab_size())]
    vectors = torch.from_numpy(encode(words)).to(decoder.kind.weight)
    centred = vectors - vectors.mean(0)
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    axes = components[: decoder.settings.width]  # (width, D)
    embedded = centred @ axes.T
    decoder.gpt.transformer.wte.weight.copy_(embedded * (0.05 / embedded.std()))
    scale = 0.05 / embedded.std() / decoder.settings.dimension**0.5
    decoder.project.weight.copy_(axes * scale)
    decoder.project.bias.copy_(-(axes @ vectors.mean(0)) * scale * decoder.settings.dimension**0.5)
    decoder.kind.weight.mul_(0.05)


def schedule(step: int, steps: int, warm_up: int = 200) -> float:
    """Linear warm-up, then half a cosine down to 2 %."""
    if step < warm_up:
        return (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def train_step(
    decoder: CaptionDecoder, optimizer: torch.optim.Optimizer, batch: Batch, device: str
) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = batch_loss(decoder, batch, device)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def batch_loss(decoder: CaptionDecoder, batch: Batch, device: str) -> torch.Tensor:
    """Mean cross-entropy over the tokens to be written."""
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with mixed_precision(device):
        scale = decoder.settings.dimension**0.5
        vectors = decoder.project(batch["vectors"] * scale) + decoder.kind(batch["vector_kinds"])
        tokens = decoder.gpt.transformer.wte(batch["tokens"]) + decoder.kind(batch["token_kinds"])
        embedded = torch.cat([vectors, tokens], 1) + decoder.share(batch["shares"][..., None])
        mask = batch["mask"]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = decoder.gpt.transformer(
            inputs_embeds=embedded, attention_mask=mask, position_ids=positions
        ).last_hidden_state
        labels = batch["labels"]
        row, place = (labels != IGNORED).nonzero(as_tuple=True)
        wanted = labels[row, place]
        values, valid = pointed_at(batch, decoder, hidden.shape[1])
        # The vocabulary's projection is the widest layer: only where something is to be written.
        scores = decoder.pointing(hidden, decoder.copy_key(hidden))[row, place]
        vocabulary, pointer = decoder.mixed(hidden[row, place], scores, valid[row])
        copied = (pointer * (values[row] == wanted[:, None])).sum(-1)
        written = vocabulary.gather(1, wanted[:, None])[:, 0].exp()
        return -(written + copied).clamp(min=1e-9).log().mean()


def pointed_at(
    batch: Batch, decoder: CaptionDecoder, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """For every position (B, L): the token after it, and whether the pointer may use it.

    Usable are the captions and their separators; what follows a caption's last token is its end.
    """
    tokens, kinds, mask = batch["tokens"], batch["token_kinds"], batch["mask"]
    slots = length - tokens.shape[1]
    after = torch.roll(tokens, -1, 1)
    ends = (after == decoder.separator) | (after == decoder.bos)
    after = torch.where(ends, decoder.eos, after)
    usable = (kinds == CAPTION) & (mask[:, slots:] == 1)
    empty = torch.zeros_like(mask[:, :slots])
    return torch.cat([empty, after], 1), torch.cat([empty.bool(), usable], 1)


@torch.no_grad()
def evaluate(decoder: CaptionDecoder, batches: list[Batch], device: str) -> float:
    decoder.eval()
    losses = [batch_loss(decoder, batch, device).item() for batch in batches]
    return float(np.mean(losses)) if losses else math.nan


def collate(
    examples: Sequence[Example], tokens: Sequence[Sequence[int]], decoder: CaptionDecoder
) -> Batch:
    """Examples as padded tensors: six slots of vectors, then captions and the text to write."""
    settings = decoder.settings
    slots = 2 + settings.neighbours
    rows = [_sequence(example, tokens, decoder) for example in examples]
    length = max(len(ids) for ids, *_ in rows)
    size = len(rows)
    vectors = np.zeros((size, slots, settings.dimension), np.float32)
    shares = np.zeros((size, slots + length), np.float32)
    mask = np.zeros((size, slots + length), np.int64)
    labels = np.full((size, slots + length), IGNORED, np.int64)
    ids_of = np.zeros((size, length), np.int64)
    kinds_of = np.zeros((size, length), np.int64)
    for row, (example, (ids, kinds, weights, wanted)) in enumerate(
        zip(examples, rows, strict=True)
    ):
        count = len(example.vectors)
        vectors[row, :count] = example.vectors
        shares[row, 2:count] = example.shares
        mask[row, :count] = 1
        end = slots + len(ids)
        ids_of[row, : len(ids)], kinds_of[row, : len(ids)] = ids, kinds
        shares[row, slots:end], mask[row, slots:end], labels[row, slots:end] = weights, 1, wanted
    vector_kinds = np.array([FUSED, QUERY] + [NEIGHBOUR] * settings.neighbours)
    arrays = {
        "vectors": vectors,
        "vector_kinds": np.broadcast_to(vector_kinds, (size, slots)).copy(),
        "tokens": ids_of,
        "token_kinds": kinds_of,
        "shares": shares,
        "mask": mask,
        "labels": labels,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _sequence(
    example: Example, tokens: Sequence[Sequence[int]], decoder: CaptionDecoder
) -> tuple[list[int], list[int], list[float], list[int]]:
    """Token ids, their kinds, shares and labels: captions first, then the text to be written."""
    ids: list[int] = []
    shares: list[float] = []
    for caption, share in zip(example.captions, example.caption_shares, strict=True):
        shown = [decoder.separator, *tokens[caption][: decoder.settings.caption_tokens]]
        ids += shown
        shares += [share] * len(shown)
    target = list(tokens[example.target][: decoder.settings.max_tokens])
    kinds = [CAPTION] * len(ids) + [TARGET] * (len(target) + 1)
    labels = [IGNORED] * len(ids) + [*target, decoder.eos]
    return [*ids, decoder.bos, *target], kinds, [*shares, *[0.0] * (len(target) + 1)], labels


def example_batches(
    data: Texts,
    near: npt.NDArray[np.int32],
    tokens: Sequence[Sequence[int]],
    decoder: CaptionDecoder,
    args: argparse.Namespace,
    first_step: int,
) -> Iterator[Batch]:
    """Endless batches; 16 at a time are sorted by length, so that little is padding."""
    random = np.random.default_rng((args.seed, first_step))
    while True:
        drawn = random.choice(len(data.texts), 16 * args.batch_size, p=data.rates)
        examples = [make_example(int(row), data, near, random) for row in drawn]
        examples.sort(key=lambda e: len(tokens[e.target]) + sum(len(tokens[c]) for c in e.captions))
        for part in random.permutation(16):
            yield collate(examples[part * args.batch_size :][: args.batch_size], tokens, decoder)


def held_out_batches(
    data: Texts | None, tokenizer: Tokenizer, decoder: CaptionDecoder, args: argparse.Namespace
) -> list[Batch]:
    """Validation captions with memories out of their own split."""
    if data is None or len(data.texts) < 32:
        return []
    tokens = [e.ids for e in tokenizer.encode_batch(data.texts, add_special_tokens=False)]
    near, random = neighbours_of(data.vectors, 8), np.random.default_rng(args.seed)
    rows = random.permutation(len(data.texts))[:512]
    examples = [make_example(int(row), data, near, random) for row in rows]
    size = args.batch_size
    return [collate(examples[i : i + size], tokens, decoder) for i in range(0, len(rows), size)]


def load_texts(args: argparse.Namespace) -> tuple[Texts, Texts | None]:
    """Training texts (half captions of the collection, half WordNet), and validation captions.

    Without a collection the decoder learns WordNet alone, a first part of the training.
    """
    glosses = wordnet_texts(args.cache)
    captions: dict[str, float] = {}
    held: dict[str, float] = {}
    pictures: dict[str, Vectors] = {}
    if (args.collection / "manifest.jsonl").is_file():
        items = load_collection(args.collection)
        parts = {
            split: caption_texts(
                [i.caption for i in items if i.split == split],
                [i.tags for i in items if i.split == split],
            )
            for split in ("train", "validation", "test")
        }
        captions, held = parts["train"], parts["validation"]
        pictures = pictures_of(items, args)
        # A text of the test split is not learnt from WordNet either.
        glosses = {t: r for t, r in glosses.items() if t not in parts["test"]}
    pairs = pairs_of(list(captions) or list(glosses), 6000, args.seed)
    total = sum(captions.values())
    scale = total / sum(glosses.values()) if total else 1.0
    rates = {t: r * scale for t, r in glosses.items()} | captions
    rates |= dict.fromkeys(pairs, 0.12 * sum(rates.values()) / max(1, len(pairs)))
    cache = args.cache / "text_vectors.npz"
    known = as_texts(rates, cache, pairs, pictures)
    return known, as_texts(held, cache, {}, pictures) if held else None


def pictures_of(items: Sequence[Item], args: argparse.Namespace) -> dict[str, Vectors]:
    """Caption -> vectors (P, D) of its pictures, by the image tower as it is stored."""
    cache = args.encoder_cache / "features"
    vectors = picture_vectors_from_cache(items, args.collection, cache)
    grouped: dict[str, list[Vectors]] = defaultdict(list)
    for item in items:
        if item.id in vectors:
            grouped[tidy_caption(item.caption)].append(vectors[item.id])
    return {caption: np.stack(rows) for caption, rows in grouped.items()}


def as_texts(
    rates: dict[str, float],
    cache: Path,
    pairs: Mapping[str, tuple[str, ...]],
    pictures: Mapping[str, Vectors],
) -> Texts:
    texts = sorted(rates)
    weights = np.array([rates[text] for text in texts])
    row = {text: number for number, text in enumerate(texts)}
    return Texts(
        texts,
        vectors_of(texts, cache, text_encoder()),
        weights / weights.sum(),
        parts={row[text]: tuple(row[part] for part in of) for text, of in pairs.items()},
        pictures={row[text]: shown for text, shown in pictures.items() if text in row},
    )


def text_encoder() -> Encode:
    """The text tower of the bundled profile, loaded at its first use."""

    def encode(texts: list[str]) -> np.ndarray:
        from encoders.registry import load_profile

        tower = load_profile("bundled").encoders["text"]
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        vectors = np.zeros((len(texts), tower.space.dimension), np.float32)
        for start in range(0, len(order), 128):
            rows = order[start : start + 128]
            vectors[rows] = tower.encode([texts[row] for row in rows])
        return vectors

    return encode


def load_tokenizer(args: argparse.Namespace) -> Tokenizer:
    """Learnt from WordNet alone, so that it does not change with the collection."""
    path = args.runs / "tokenizer.json"
    if not path.is_file():
        args.runs.mkdir(parents=True, exist_ok=True)
        train_tokenizer(list(wordnet_texts(args.cache)), 4096).save(str(path))
    return Tokenizer.from_file(str(path))


def restore(path: Path, decoder: CaptionDecoder, optimizer: torch.optim.Optimizer) -> int:
    """Read model and optimizer; the step to go on from (0 where there is no checkpoint)."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    decoder.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def export(decoder: CaptionDecoder, tokenizer: Tokenizer, folder: Path) -> None:
    save_weights(decoder, folder / "text.safetensors")
    tokenizer.save(str(folder / "text.tokenizer.json"))
    settings = json.dumps(asdict(decoder.settings), indent=1)
    (folder / "text.json").write_text(settings + "\n", "utf-8")


if __name__ == "__main__":
    main()
