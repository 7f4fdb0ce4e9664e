"""Train the caption decoder: `python -m generator.training.train text`.

Texts are those of the collection and WordNet's. Seeded and resumable; tells the loss of every epoch
beside that of held-out captions, and writes what it says of some of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from encoders.training.data import Item, load_collection
from encoders.training.precision import mixed_precision
from generator.caption_decoder import IGNORED, CaptionDecoder, TextSettings, special_tokens
from generator.checkpoint import load_weights, save_weights
from generator.registry import WEIGHTS
from generator.training.arguments import (
    add_without_memory,
    begin,
    parsed,
    plan_of,
    starts_from_stored,
    training_parser,
)
from generator.training.epochs import descend, run_epochs, told
from generator.training.shown import bundled_towers, chosen, shown, shown_vectors
from generator.training.text_batches import Batch, Batches, Lines
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
from generator.training.text_held_out import HeldOut
from generator.weight_files import write_settings


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("text", __doc__, learning_rate=1e-3, epoch_steps=250)
    parser.add_argument("--steps", type=int, default=5300, help="of --batch-size texts")
    parser.add_argument("--batch-size", type=int, default=64, help="texts of a step")
    parser.add_argument(
        "--seen",
        type=float,
        default=SEEN,
        help="share of the queries for what has pictures or sounds that are one of these",
    )
    add_without_memory(parser)
    return parsed(parser, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and write weights, tokenizer, settings and samples after every epoch."""
    args = parse(argv)
    begin(args)
    data, held_out = load_texts(args)
    tokenizer = load_tokenizer(args)
    settings = TextSettings(vocabulary=tokenizer.get_vocab_size())
    decoder = CaptionDecoder(settings, *special_tokens(tokenizer)).to(args.device)
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=args.learning_rate, weight_decay=0.05, betas=(0.9, 0.98)
    )
    if starts_from_stored(args):
        load_weights(decoder, WEIGHTS / "text.safetensors")
    else:
        initialise(decoder, tokenizer, text_encoder())
    parameters = sum(each.numel() for each in decoder.parameters())
    print(f"{len(data.texts)} texts, {parameters} parameters; looking for neighbours", flush=True)
    near = cached_neighbours(data.vectors, 8, args.cache)
    lines = Lines(tokenizer, data.texts, decoder)
    batches = Batches(
        data, near, lines, args.batch_size, args.seed, args.seen, empty=args.without_memory
    )
    checked = HeldOut.of(held_out, tokenizer, decoder, args)

    def update(step: int, _: np.random.Generator) -> dict[str, float]:
        return {
            "loss": descend(batch_loss(decoder, batches.at(step), args.device), decoder, optimizer)
        }

    def epoch_ends(step: int) -> str:
        export(decoder, tokenizer, args.weights)
        return checked.measure(decoder, batch_loss, args.runs / f"samples-{step}.txt")

    plan = plan_of(args, args.steps, args.learning_rate, warm_up=200)
    run_epochs(plan, args.runs / "checkpoint.pt", decoder, optimizer, update, epoch_ends)


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


def load_texts(args: argparse.Namespace) -> tuple[Texts, Texts | None]:
    """Training texts (half captions of the collection, half WordNet), and validation captions,
    None where there are none."""
    every = load_collection(args.collection)
    items = {
        split: [i for i in every if i.split == split] for split in ("train", "validation", "test")
    }
    parts = {
        split: caption_texts([i.caption for i in own], [i.tags for i in own])
        for split, own in items.items()
    }
    captions, held = parts["train"], parts["validation"]
    # A text of the test split is not learnt from WordNet either.
    glosses = {t: r for t, r in wordnet_texts(args.cache).items() if t not in parts["test"]}
    pairs = pairs_of(list(captions), 6000, args.seed)
    scale = sum(captions.values()) / sum(glosses.values())
    rates = {t: r * scale for t, r in glosses.items()} | captions
    rates |= dict.fromkeys(pairs, 0.12 * sum(rates.values()) / max(1, len(pairs)))
    known = as_texts(rates, pairs, items["train"], args)
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
        for start in told(range(0, len(order), 128), "encoding texts"):
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


def export(decoder: CaptionDecoder, tokenizer: Tokenizer, folder: Path) -> None:
    save_weights(decoder, folder / "text.safetensors")
    tokenizer.save(str(folder / "text.tokenizer.json"))
    write_settings(decoder.settings, folder / "text.json")


if __name__ == "__main__":
    main()
