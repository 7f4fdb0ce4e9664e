"""What the caption decoder learns from, on a few made-up texts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from encoders.base import normalize
from encoders.training.data import Item
from encoders.training.data.records import MANIFEST
from generator.caption_decoder import IGNORED, CaptionDecoder, Prompt, TextSettings, special_tokens
from generator.drafting import Writer
from generator.registry import WEIGHTS
from generator.training import text as training
from generator.training.shown import NEAR, Shown, chosen, nothing_shown, shown, shown_vectors
from generator.training.text import batch_loss
from generator.training.text_batches import Batches, Lines, collate
from generator.training.text_data import Texts, neighbours_of
from generator.training.text_examples import Example, make_example, recalled
from generator.training.text_held_out import SHOWN
from generator.training.wordnet import Synset, captioned

LONG = "a very long caption about " + "an extraordinarily unusual hippopotamus " * 8
TEXTS = [
    "A cat.",
    "A dog.",
    "a red truck",
    "a fire engine",
    LONG,
    *(f"thing {n}" for n in range(40)),
]


def unit(count: int, seed: int) -> np.ndarray:
    return normalize(np.random.default_rng(seed).standard_normal((count, 384)))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(WEIGHTS / "text.tokenizer.json"))


@pytest.fixture(scope="module")
def decoder(tokenizer: Tokenizer) -> CaptionDecoder:
    torch.manual_seed(0)
    settings = TextSettings(width=32, layers=1, heads=2, vocabulary=tokenizer.get_vocab_size())
    return CaptionDecoder(settings, *special_tokens(tokenizer)).eval()


@pytest.fixture(scope="module")
def lines(tokenizer: Tokenizer, decoder: CaptionDecoder) -> Lines:
    return Lines(tokenizer, TEXTS, decoder)


def texts(seen: Shown | None = None) -> Texts:
    rates = np.full(len(TEXTS), 1 / len(TEXTS))
    return Texts(TEXTS, unit(len(TEXTS), 0), rates, seen or nothing_shown(len(TEXTS)))


def item(number: int, caption: str, modality: str = "image", style: str = "") -> Item:
    name = f"{modality}-{number}"
    return Item(
        name, "stamps", style, caption, "train", modality, f"{name}.png", caption, (), name, "CC0"
    )  # type: ignore[arg-type]


def test_without_memory_the_same_is_drawn_and_the_query_alone_is_read(lines: Lines) -> None:
    data = texts()
    near = neighbours_of(data.vectors, 8)
    known, nothing = (
        [make_example(3, data, near, random, empty=empty) for _ in range(20)]
        for empty, random in ((e, np.random.default_rng(0)) for e in (False, True))
    )
    for with_memory, alone in zip(known, nothing, strict=True):
        np.testing.assert_array_equal(with_memory.vectors[1], alone.vectors[1])
        np.testing.assert_array_equal(alone.vectors[0], alone.vectors[1])
        assert (len(alone.vectors), len(alone.shares), alone.captions) == (2, 0, ())
    assert any(each.captions for each in known)
    assert not collate(nothing, lines)["shares"].any()


def test_captions_end_between_words_and_only_whole_ones_end(
    tokenizer: Tokenizer, decoder: CaptionDecoder, lines: Lines
) -> None:
    example = Example(0, unit(4, 1), np.array([0.5, 0.5], np.float32), (4, 1), (0.5, 0.5))
    batch = {name: rows[0] for name, rows in collate([example], lines).items()}
    cut = lines.remembered[4]
    assert len(cut) <= decoder.settings.caption_tokens
    assert tokenizer.decode(list(cut)).strip() in LONG
    assert tokenizer.decode(list(cut)).split()[-1] in LONG.split()
    pointable, following = batch["pointable"], batch["following"]
    ends = following[pointable] == decoder.eos
    assert int(ends.sum()) == 1  # of "A dog.", not of the cut one
    assert following[pointable][ends.nonzero()[0]] == decoder.eos
    assert batch["labels"][batch["labels"] != IGNORED][-1] == decoder.eos


def test_a_text_that_is_too_long_does_not_end(decoder: CaptionDecoder, lines: Lines) -> None:
    example = Example(4, unit(2, 1), np.zeros(0, np.float32), (), ())
    labels = collate([example], lines)["labels"][0]
    assert int((labels != IGNORED).sum()) == decoder.settings.max_tokens
    assert decoder.eos not in labels.tolist()


def test_training_reads_what_serving_reads(decoder: CaptionDecoder, lines: Lines) -> None:
    """The loss of a text is the likelihood that serving gives its tokens."""
    vectors = unit(5, 2)
    example = Example(0, vectors, np.array([0.5, 0.3, 0.2], np.float32), (4, 1), (0.5, 0.3))
    with torch.inference_mode():
        loss = float(batch_loss(decoder, collate([example], lines), "cpu"))
        captions = tuple(lines.remembered[row] for row in (4, 1))
        prompt = Prompt(vectors, (0.5, 0.3, 0.2), captions, (0.5, 0.3), (False, True))
        writer = Writer(decoder, [prompt], 1)
        token, logs = decoder.bos, []
        for wanted in (*lines.written[0], decoder.eos):
            probabilities = writer.probabilities(torch.tensor([token]))[0]
            logs.append(float(probabilities[wanted].log()))
            token = wanted
    assert loss == pytest.approx(-np.mean(logs), rel=0.02)  # bfloat16 in training


def test_pictures_ask_and_are_remembered() -> None:
    items = [item(n, TEXTS[n % 4]) for n in range(12)]
    vectors = {i.id: v for i, v in zip(items, unit(12, 3), strict=True)}
    rows = {i.id: TEXTS.index(i.caption) for i in items}
    seen = shown(rows, items, vectors, len(TEXTS))
    assert [len(seen.of(row)) for row in range(5)] == [3, 3, 3, 3, 0]
    for row in range(4):
        for place in seen.of(row):
            assert row not in seen.near[place]
            assert 0 < len(seen.near[place]) <= NEAR
    data = texts(seen)
    near = neighbours_of(data.vectors, 8)
    random = np.random.default_rng(0)
    asked = [make_example(0, data, near, random, seen=1.0) for _ in range(40)]
    known = seen.vectors[seen.of(0).start : seen.of(0).stop]
    exact = [e for e in asked if (known @ e.vectors[1]).max() > 0.999]
    assert 20 < len(exact) < 40  # the others are asked by picture and words together
    for example in asked:
        assert len(example.vectors) == 2 + len(example.shares) <= 6
        assert np.allclose(np.linalg.norm(example.vectors, axis=1), 1, atol=1e-5)
        assert len(example.captions) == len(example.caption_shares) <= len(example.shares)
    by_words = [make_example(0, data, near, random, seen=0.0) for _ in range(10)]
    assert all((known @ e.vectors[1]).max() < 0.9 for e in by_words)


def test_few_of_a_caption_and_no_voice_of_the_tests() -> None:
    many = [item(n, "A cat.") for n in range(20)]
    said = [item(n, "A cat.", "audio", "spoken") for n in range(3)]
    kept = chosen([*many, *said])
    assert len(kept) == 6
    assert {i.modality for i in kept} == {"image"}
    with_others = chosen([*reversed(many), item(99, "A dog.")])
    assert {i.id for i in kept} < {i.id for i in with_others}


def test_what_was_encoded_is_not_encoded_again(tmp_path: Path) -> None:
    items = [item(n, "A cat.") for n in range(3)]
    for each in items:
        Image.new("RGB", (8, 8), "red").save(tmp_path / each.path)
    asked: list[int] = []

    def encode(modality: str, media: list[object]) -> np.ndarray:
        asked.append(len(media))
        return unit(len(media), 4)

    first = shown_vectors(items[:2], tmp_path, tmp_path / "shown.npz", encode)
    again = shown_vectors(items, tmp_path, tmp_path / "shown.npz", encode)
    assert asked == [2, 1]
    assert all(np.array_equal(first[i.id], again[i.id]) for i in items[:2])


def test_a_query_that_says_nothing_is_answered_by_what_is_remembered() -> None:
    nothing = unit(1, 9)[0]
    data = replace(texts(), nothing=nothing)
    near = neighbours_of(data.vectors, 8)
    random = np.random.default_rng(0)
    found = [recalled(0, data, near, random) for _ in range(600)]
    empty = [each for each in found if np.array_equal(each.query, nothing)]
    assert 5 < len(empty) < 40
    assert all(each.rows.tolist() == [0] for each in empty)
    assert all(len(each.vectors) for each in empty)


def test_an_activity_has_no_article() -> None:
    sailing = Synset("sailing", "riding in a sailboat", False, True, activity=True)
    assert captioned(sailing) == "Sailing."
    assert captioned(sailing._replace(name="owl", activity=False)) == "An owl."


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen = shown(
        {f"image-{n}": n for n in range(40)},
        [item(n, TEXTS[n]) for n in range(40)],
        {f"image-{n}": v for n, v in enumerate(unit(40, 5))},
        len(TEXTS),
    )
    monkeypatch.setattr(training, "load_texts", lambda _: (texts(seen), texts(seen)))
    monkeypatch.setattr(
        training, "TextSettings", partial(TextSettings, width=32, layers=1, heads=2)
    )
    monkeypatch.setattr(training, "text_encoder", lambda: lambda words: unit(len(words), 4))
    stored = str(WEIGHTS / "text.tokenizer.json")
    monkeypatch.setattr(training, "load_tokenizer", lambda _: Tokenizer.from_file(stored))
    (tmp_path / "cache").mkdir()
    (tmp_path / MANIFEST).touch()
    folders = [f"--{name}={tmp_path / name}" for name in ("runs", "cache", "weights")]
    folders.append(f"--collection={tmp_path}")
    return [*folders, "--batch-size=4", "--epoch-steps=3", "--device=cpu"]


def test_a_stopped_training_comes_to_the_same_weights(arguments: list[str], tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "text.safetensors"
    training.main([*arguments, "--steps=6"])
    whole = weights.read_bytes()
    (tmp_path / "runs" / "checkpoint.pt").unlink()
    training.main([*arguments, "--steps=6", "--stop-at=4"])
    assert weights.read_bytes() != whole
    training.main([*arguments, "--steps=6", "--resume"])
    assert weights.read_bytes() == whole
    samples = (tmp_path / "runs" / "samples-6.txt").read_text("utf-8").splitlines()
    kinds = [line for line in samples if line.startswith("# ")]
    assert len(kinds) == 2
    assert all(line.count(" | ") == 3 for line in samples)
    assert len(samples) == 2 + 2 * SHOWN


def test_batches_depend_on_the_step_alone(lines: Lines) -> None:
    data = texts()
    near = neighbours_of(data.vectors, 8)
    one, other = (Batches(data, near, lines, 4, 7) for _ in range(2))
    for step in (0, 1, 17):
        one.at(step)
    for name, rows in one.at(17).items():
        assert torch.equal(rows, other.at(17)[name])
    assert not torch.equal(one.at(17)["vectors"], one.at(1)["vectors"])


@torch.inference_mode()
def test_the_writer_computes_what_the_network_does(decoder: CaptionDecoder) -> None:
    """The prompt at once and tokens one by one, beside all of it in one pass of its own class."""
    random = np.random.default_rng(0)
    vectors = normalize(random.standard_normal((2, 4, 384))).astype(np.float32)
    caption = (5, 9, 12)
    prompts = [Prompt(each, (0.7, 0.3), (caption,), (0.7,), (True,)) for each in vectors]
    writer = Writer(decoder, prompts, 2)
    tokens = [torch.tensor(row) for row in ([1, 1, 1, 1], [7, 8, 9, 10], [11, 11, 12, 13])]
    step = [writer.probabilities(row) for row in tokens][-1]
    for row in range(4):
        written = decoder.written(torch.stack(tokens)[:, row])
        whole = torch.cat([decoder.prefix(prompts[row // 2]), written])
        hidden = decoder.gpt.transformer(inputs_embeds=whole[None]).last_hidden_state[0]
        keys = decoder.copy_key(hidden[4:8])
        scores = decoder.pointing(hidden[-1:], keys)
        vocabulary, pointer = decoder.mixed(hidden[-1:], scores, torch.ones(1, 4, dtype=torch.bool))
        following = torch.tensor([*caption, decoder.eos])
        expected = vocabulary.exp().index_add(1, following, pointer)[0]
        torch.testing.assert_close(step[row], expected, atol=1e-6, rtol=1e-4)


@torch.inference_mode()
def test_captions_that_are_not_read_are_as_none(decoder: CaptionDecoder) -> None:
    """Beside a prompt that reads them, in one batch."""
    vectors = normalize(np.random.default_rng(0).standard_normal((4, 384))).astype(np.float32)
    prompt = Prompt(vectors, (0.7, 0.3), ((5, 9, 12), (7,)), (0.7, 0.3), (True, True))
    without = Prompt(vectors, (0.7, 0.3), (), (), ())
    writer = Writer(decoder, [replace(prompt, reads=False), prompt], 2)
    beside = [Writer(decoder, [each], 2) for each in (without, prompt)]
    for row in ([1, 1, 1, 1], [7, 8, 9, 10], [11, 11, 12, 13]):
        tokens = torch.tensor(row)
        expected = [
            each.probabilities(part) for each, part in zip(beside, tokens.split(2), strict=True)
        ]
        torch.testing.assert_close(
            writer.probabilities(tokens), torch.cat(expected), atol=1e-6, rtol=1e-4
        )
