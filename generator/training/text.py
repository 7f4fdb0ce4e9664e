"""Train the caption decoder: `python -m generator.training.train text`.

Seeded and resumable; prints the loss of every epoch beside that of held-out captions.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from encoders.training.data import Item, load_collection
from encoders.training.precision import mixed_precision
from generator.checkpoint import load_weights, save_weights
from generator.registry import WEIGHTS
from generator.text import IGNORED, CaptionDecoder, TextSettings, special_tokens
from generator.training.arguments import training_parser
from generator.training.shown import bundled_towers, chosen, shown, shown_vectors
from generator.training.text_batches import Batch, Lines, example_batches, held_out_batches
from generator.training.text_data import (
    Encode,
    Texts,
    cached_neighbours,
    caption_texts,
    pairs_of,
    tidy_caption,
    train_tokenizer,
    vectors_of,
    wordnet_texts,
)
from generator.training.text_examples import SEEN


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("text", __doc__, learning_rate=1e-3, epoch_steps=250)
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--stop-at", type=int, default=None, help="leave off early; resume later")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--from-stored", action="store_true", help="start from the stored weights")
    parser.add_argument(
        "--seen",
        type=float,
        default=SEEN,
        help="share of the queries for what has pictures or sounds that are one of these",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and write weights, tokenizer and settings after every epoch."""
    args = parse(argv)
    torch.manual_seed(args.seed)
    args.runs.mkdir(parents=True, exist_ok=True)
    data, held_out = load_texts(args)
    tokenizer = load_tokenizer(args)
    settings = TextSettings(vocabulary=tokenizer.get_vocab_size())
    decoder = CaptionDecoder(settings, *special_tokens(tokenizer)).to(args.device)
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=args.learning_rate, weight_decay=0.05, betas=(0.9, 0.98)
    )
    step = restore(args.runs / "checkpoint.pt", decoder, optimizer) if args.resume else 0
    if step == 0 and args.from_stored:
        load_weights(decoder, WEIGHTS / "text.safetensors")
    elif step == 0:
        initialise(decoder, tokenizer, text_encoder())
    print(f"{len(data.texts)} texts, {sum(p.numel() for p in decoder.parameters())} parameters")
    near = cached_neighbours(data.vectors, 8, args.cache)
    lines = Lines(tokenizer, data.texts, decoder)
    batches = example_batches(data, near, lines, args.batch_size, (args.seed, step), args.seen)
    by_text, by_sight = (
        held_out_batches(held_out, tokenizer, decoder, args.batch_size, args.seed, seen)
        for seen in (0.0, 1.0)
    )
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
            f"held-out captions {evaluate(decoder, by_text, args.device):.3f}, asked by pictures "
            f"and sounds {evaluate(decoder, by_sight, args.device):.3f} "
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
        values, valid = batch["following"], batch["pointable"]
        # The vocabulary's projection is the widest layer: only where something is to be written.
        scores = decoder.pointing(hidden, decoder.copy_key(hidden))[row, place]
        vocabulary, pointer = decoder.mixed(hidden[row, place], scores, valid[row])
        copied = (pointer * (values[row] == wanted[:, None])).sum(-1)
        written = vocabulary.gather(1, wanted[:, None])[:, 0].exp()
        return -(written + copied).clamp(min=1e-9).log().mean()


@torch.no_grad()
def evaluate(decoder: CaptionDecoder, batches: list[Batch], device: str) -> float:
    decoder.eval()
    losses = [batch_loss(decoder, batch, device).item() for batch in batches]
    return float(np.mean(losses)) if losses else math.nan


def load_texts(args: argparse.Namespace) -> tuple[Texts, Texts | None]:
    """Training texts (half captions of the collection, half WordNet), and validation captions.

    Without a collection the decoder learns WordNet alone, a first part of the training.
    """
    glosses = wordnet_texts(args.cache)
    captions: dict[str, float] = {}
    held: dict[str, float] = {}
    items: dict[str, list[Item]] = {}
    if (args.collection / "manifest.jsonl").is_file():
        every = load_collection(args.collection)
        items = {
            split: [i for i in every if i.split == split]
            for split in ("train", "validation", "test")
        }
        parts = {
            split: caption_texts([i.caption for i in own], [i.tags for i in own])
            for split, own in items.items()
        }
        captions, held = parts["train"], parts["validation"]
        # A text of the test split is not learnt from WordNet either.
        glosses = {t: r for t, r in glosses.items() if t not in parts["test"]}
    pairs = pairs_of(list(captions) or list(glosses), 6000, args.seed)
    total = sum(captions.values())
    scale = total / sum(glosses.values()) if total else 1.0
    rates = {t: r * scale for t, r in glosses.items()} | captions
    rates |= dict.fromkeys(pairs, 0.12 * sum(rates.values()) / max(1, len(pairs)))
    known = as_texts(rates, pairs, items.get("train", ()), args)
    return known, as_texts(held, {}, items["validation"], args) if held else None


def as_texts(
    rates: dict[str, float],
    pairs: Mapping[str, tuple[str, ...]],
    items: Sequence[Item],
    args: argparse.Namespace,
) -> Texts:
    """`items`: of one split; pictures and sounds of the texts are out of these."""
    texts = sorted(rates)
    weights = np.array([rates[text] for text in texts])
    row = {text: number for number, text in enumerate(texts)}
    owned = [i for i in chosen(items) if tidy_caption(i.caption) in row]
    sights = shown_vectors(owned, args.collection, args.cache / "shown.npz", bundled_towers())
    return Texts(
        texts,
        vectors_of(texts, args.cache / "text_vectors.npz", text_encoder()),
        weights / weights.sum(),
        shown({i.id: row[tidy_caption(i.caption)] for i in owned}, owned, sights, len(texts)),
        parts={row[text]: tuple(row[part] for part in of) for text, of in pairs.items()},
        nothing=vectors_of([""], args.cache / "nothing.npz", text_encoder())[0],
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
    if args.from_stored:
        return Tokenizer.from_file(str(WEIGHTS / "text.tokenizer.json"))
    path = args.runs / "tokenizer.json"
    if not path.is_file():
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
