"""Train the fusion of query and memories: `python -m generator.training.train fusion`.

A query and a memory are drawn as for the text decoder, any part of them now and then left out; the
fused vector is to be where the text is that was asked for, and the shares where it is remembered.
Seeded and resumable; prints beside the loss how near the fused vectors of validation texts come,
and how near those of the formulas.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.numpy import save

from encoders.base import Vectors
from generator.fusion import FORMULAS, fuse
from generator.learned_fusion import FILES, FusionSettings, LearnedFusion
from generator.training.arguments import begin, parsed, plan_of, training_parser
from generator.training.epochs import descend, run_epochs
from generator.training.fusion_network import FusionNetwork
from generator.training.text import load_texts
from generator.training.text_data import Texts, cached_neighbours, neighbours_of
from generator.training.text_examples import Recalled, recalled
from generator.weight_files import write_settings

OWN = 0.35  # of the memories: what is asked for is among them, so that it is still recalled
TOGETHER = 0.5  # of the queries by text: the memories' pictures and sounds come along
MOST = 10  # vectors of a memory
TEMPERATURE = 0.05  # of the comparison with the other texts of the batch, and of the wanted shares
SIGHT = 0.3  # length of a picture's or sound's vector beside the text's, in what is aimed at
SAME = 0.7  # of those, if a picture or sound asks: remembered with that very one
RECALL = 1.0  # weight of the shares' cross-entropy


Fuse = Callable[[Vectors, Vectors], tuple[Vectors, Vectors]]
Cases = Mapping[str, list[tuple[int, Recalled]]]


@dataclass(frozen=True)
class Batch:
    query: torch.Tensor  # (B, D)
    memories: torch.Tensor  # (B, M, D)
    there: torch.Tensor  # (B, M): whether there is one
    wanted: torch.Tensor  # (B, M): shares by how much each memory's text is what is asked for
    episode: torch.Tensor  # (B, M, M): whether two memories are of one episode
    target: torch.Tensor  # (B,) rows of the texts
    text: torch.Tensor  # (B, D)
    aim: torch.Tensor  # (B, D): the text's vector, and what is seen or heard of it

    def to(self, device: str) -> Batch:
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("fusion", __doc__, learning_rate=2e-3, epoch_steps=200)
    parser.add_argument("--steps", type=int, default=1200, help="of --batch-size texts")
    parser.add_argument("--batch-size", type=int, default=192, help="texts of a step")
    return parsed(parser, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and write weights and settings after every epoch."""
    args = parse(argv)
    begin(args)
    data, held_out = load_texts(args)
    near = cached_neighbours(data.vectors, 8, args.cache)
    cases = held_out_cases(held_out, args.seed)
    for method in FORMULAS if cases else ():
        print(method, told(cases, held_out, partial(fuse, method=method)), flush=True)
    network = FusionNetwork(FusionSettings(dimension=data.vectors.shape[1])).to(args.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.learning_rate, weight_decay=0.01)

    def update(_: int, random: np.random.Generator) -> dict[str, float]:
        batch = draw(data, near, random, args.batch_size).to(args.device)
        return {"loss": descend(batch_loss(network, batch), network, optimizer)}

    def epoch_ends(_: int) -> str:
        export(network, args.weights)
        return told(cases, held_out, LearnedFusion.load(args.weights).fuse)

    plan = plan_of(args, args.steps, args.learning_rate)
    run_epochs(plan, args.runs / "fusion.pt", network, optimizer, update, epoch_ends)


def draw(data: Texts, near: npt.NDArray[np.int32], random: np.random.Generator, size: int) -> Batch:
    """Texts to be meant, each with a query and a memory; any modality of either may be missing."""
    targets = random.choice(len(data.texts), size, p=data.rates)
    found = [
        recalled(int(row), data, near, random, own=OWN, together=TOGETHER, same=SAME)
        for row in targets
    ]
    most = max(1, *(min(MOST, len(each.vectors)) for each in found))
    memories = np.zeros((size, most, data.vectors.shape[1]), np.float32)
    episode = np.full((size, most), -1)
    wanted = np.zeros((size, most), np.float32)
    aim = data.vectors[targets].copy()
    for place, (target, each) in enumerate(zip(targets, found, strict=True)):
        count = min(most, len(each.vectors))
        memories[place, :count] = each.vectors[:count]
        episode[place, :count] = each.episode[:count]
        wanted[place, :count] = wanted_shares(data.vectors[target], each, data)[:count]
        own = data.shown.of(int(target))
        if own:
            aim[place] += SIGHT * data.shown.vectors[own[int(random.integers(len(own)))]]
    return Batch(
        query=torch.from_numpy(np.stack([each.query for each in found]).astype(np.float32)),
        memories=torch.from_numpy(memories),
        there=torch.from_numpy(episode >= 0),
        wanted=torch.from_numpy(wanted),
        episode=torch.from_numpy(episode[:, :, None] == episode[:, None]),
        target=torch.from_numpy(targets),
        text=torch.from_numpy(data.vectors[targets]),
        aim=F.normalize(torch.from_numpy(aim), dim=-1),
    )


def wanted_shares(target: Vectors, found: Recalled, data: Texts) -> Vectors:
    """(M,): softmax over how near the episodes' texts are to the target; 0 but for the first
    memory of each episode, since an episode counts as a whole."""
    if not len(found.rows):
        return np.zeros(0, np.float32)
    scores = data.vectors[found.rows] @ target / TEMPERATURE
    weights = np.exp(scores - scores.max())
    first = np.searchsorted(found.episode, np.arange(len(found.rows)))  # they are in order
    shares = np.zeros(len(found.vectors), np.float32)
    shares[first] = weights / weights.sum()
    return shares


def batch_loss(network: FusionNetwork, batch: Batch) -> torch.Tensor:
    """The fused vector tells its text from the batch's others and lies near what is aimed at, and
    each episode has the share that its text deserves."""
    fused, shares = network(batch.query, batch.memories, batch.there)
    scores = fused @ batch.text.T / TEMPERATURE
    own = torch.arange(len(fused), device=fused.device)
    same = batch.target[:, None] == batch.target
    scores = scores.masked_fill(same & (own[:, None] != own), -1e4)
    told_apart = F.cross_entropy(scores, own)
    away = 1 - (fused * batch.aim).sum(-1).mean()
    # An episode is ranked by the largest share in it.
    best = (batch.episode * shares[:, None]).amax(-1).clamp(min=1e-6)
    recall = -(batch.wanted * best.log()).sum(-1).mean()
    loss: torch.Tensor = told_apart + 2 * away + RECALL * recall
    return loss


def held_out_cases(data: Texts | None, seed: int) -> Cases:
    """By kind of query and memory, validation texts with what is remembered out of their split."""
    if data is None:
        return {}
    near, random = neighbours_of(data.vectors, 8), np.random.default_rng(seed)
    rows = random.permutation([row for row in range(len(data.texts)) if data.shown.of(row)])[:256]
    return {
        f"{asked}, {known}": [
            (
                int(row),
                recalled(int(row), data, near, random, seen=seen, own=own, together=0.5, same=1.0),
            )
            for row in rows
        ]
        for asked, seen in (("text", 0.0), ("sight", 1.0))
        for known, own in (("own", 1.0), ("others", 0.0))
    }


def told(
    cases: Cases,
    data: Texts | None,
    method: Fuse,
) -> str:
    """Of each kind: the cosine to the text, how often it is among the ten nearest of its split,
    and how often, where it is remembered, its episode has the largest share."""
    if data is None:
        return ""
    parts = []
    for name, drawn in cases.items():
        cosines, found, recall = [], [], []
        for target, each in drawn:
            fused, shares = method(each.query, each.vectors)
            scores = data.vectors @ fused
            cosines.append(float(scores[target]))
            found.append(int((scores > scores[target]).sum()) < 10)
            if target in each.rows and len(each.rows) > 1:
                recall.append(int(each.rows[each.episode[int(shares.argmax())]]) == target)
        own = f" recall {np.mean(recall):.3f}" if recall else ""
        parts.append(f"{name}: cosine {np.mean(cosines):.3f} R@10 {np.mean(found):.3f}{own}")
    return "; ".join(parts)


def export(network: FusionNetwork, folder: Path) -> None:
    """Weights as fp16, and settings."""
    state = {
        name: tensor.detach().cpu().half().numpy() for name, tensor in network.state_dict().items()
    }
    write_settings(network.settings, folder / FILES[0])
    (folder / FILES[1]).write_bytes(save(state))


if __name__ == "__main__":
    main()
