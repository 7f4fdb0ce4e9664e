"""Measure the sound generator on the test split: `python -m generator.training.evaluate_audio`.

Reconstruction (MSE, SNR, log-mel distance), then generation with its own memory, others', random
ones and none, beside copying the nearest sound. Writes a sheet of spectrograms.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from encoders.base import Vectors, Waveform
from encoders.log_mel import HOP, resample
from encoders.training.data import load_collection
from generator.audio import SoundGenerator, mel_window
from generator.base import Condition, Neighbour
from generator.fusion import fuse
from generator.phase import griffin_lim, magnitude_from_log_mel
from generator.registry import WEIGHTS
from generator.training.evaluate_text import K, Rows, nearest
from generator.training.sounds import kind_of, read
from generator.training.text import text_encoder
from generator.training.text_data import vectors_of

Floats = npt.NDArray[np.float32]
Report = list[dict[str, object]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="evaluate_audio", description=__doc__)
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/audio"))
    args = parser.parse_args(argv)
    study = Study(args)
    report = study.reconstruction() + study.generation()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    columns = ("what", "log_mel", "mse", "snr_db", "own_vector", "memory_vector", "ms")
    table = Table(*columns)
    for row in report:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console().print(table)
    study.sheet().save(args.out / "spectrograms.png")


class Study:
    """Test sounds, their captions' vectors, and the generator that is measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.generator = SoundGenerator(args.weights)
        self.random = np.random.default_rng(args.seed)
        found = [
            i
            for i in load_collection(args.collection)
            if i.modality == "audio" and i.split == "test"
        ]
        # Every effect, instrument and sample, and no more spoken words than those.
        heard = [i for i in found if kind_of(i) != "speech"]
        spoken = [i for i in found if kind_of(i) == "speech"]
        chosen = self.random.permutation(len(spoken))[: len(heard)]
        self.items = heard + [spoken[i] for i in chosen]
        self.sounds = [read(args.collection / i.path) for i in self.items]
        self.mels = [mel_window(sound, self.generator.settings) for sound in self.sounds]
        captions = [i.caption for i in self.items]
        cache = args.cache / "caption_vectors.npz"
        self.vectors = vectors_of(captions, cache, text_encoder())
        self.judged = judge(self.sounds)
        self.wanted = self.random.permutation(len(self.items))[: args.count]

    def reconstruction(self) -> Report:
        """Phase alone, and autoencoder and phase, against the waveforms."""
        generator, report = self.generator, Report()
        for name in ("griffin-lim on the true mel", "autoencoder, griffin-lim"):
            rows = []
            for index in self.wanted:
                true, start = self.mels[index], time.perf_counter()
                mel = true if name.startswith("g") else generator.decode(generator.encode(true))
                samples = griffin_lim(magnitude_from_log_mel(mel))
                spent = (time.perf_counter() - start) * 1000
                original = window_of(self.sounds[index], len(samples))
                rows.append((np.abs(mel - true).mean(), *errors(original, samples), spent))
            report.append(row_of(name, np.array(rows)))
        return report

    def generation(self) -> Report:
        """Own memory, others', random ones, none, at three creativities."""
        concepts = np.array([i.concept for i in self.items])
        others = nearest(self.vectors, self.vectors, concepts)
        own = np.concatenate([np.arange(len(others))[:, None], others[:, : K - 1]], 1)
        strangers = self.random.integers(len(others), size=others.shape)
        report = []
        for name, memory in (("own", own), ("other concepts", others), ("random", strangers)):
            for creativity in (0.0, 0.5, 1.0):
                report.append(self._generate(name, memory, creativity))
        report.append(self._generate("none", others[:, :0], 1.0))
        copies = np.array(
            [[np.abs(self.mels[others[i, 0]] - self.mels[i]).mean()] for i in self.wanted]
        )
        copied = {"what": "copy of the nearest other", "log_mel": round(float(copies.mean()), 3)}
        if self.judged is not None:
            pairs = [self.judged[others[i, 0]] @ self.judged[i] for i in self.wanted]
            copied["own_vector"] = round(float(np.mean(pairs)), 3)
        return [*report, copied]

    def _generate(self, name: str, memory: Rows, creativity: float) -> dict[str, object]:
        distances, times, made = [], [], []
        for index in self.wanted:
            start = time.perf_counter()
            sound = self.generator.generate(
                self.condition(index, memory[index]), seed=int(index), creativity=creativity
            ).media
            times.append((time.perf_counter() - start) * 1000)
            made.append(sound)
            heard = mel_window(sound, self.generator.settings)
            distances.append(np.abs(heard - self.mels[index]).mean())
        row: dict[str, object] = {
            "what": f"memory {name}, creativity {creativity}",
            "log_mel": round(float(np.mean(distances)), 3),
            "ms": round(float(np.median(times))),
        }
        vectors = judge(made)
        if vectors is not None and self.judged is not None:
            own = (vectors * self.judged[self.wanted]).sum(1)
            row["own_vector"] = round(float(own.mean()), 3)
            if memory.shape[1]:
                first = (vectors * self.judged[memory[self.wanted, 0]]).sum(1)
                row["memory_vector"] = round(float(first.mean()), 3)
        return row

    def condition(self, index: int, memory: Rows) -> Condition:
        fused, weights = fuse(self.vectors[index], self.vectors[memory], "attention")
        neighbours = tuple(
            Neighbour(str(i), "audio", self.vectors[i], self.sounds[i]) for i in memory
        )
        return Condition(self.vectors[index], fused, neighbours, weights)

    def sheet(self, rows: int = 10) -> Image.Image:
        """Each row: a sound, its autoencoding, then own memory at .3 and 1, and no memory."""
        lines = []
        for index in range(0, len(self.items) // 2, max(1, len(self.items) // 2 // rows)):
            own = np.array([index])
            mels = [
                self.mels[index],
                self.generator.decode(self.generator.encode(self.mels[index])),
            ]
            for memory, creativity in ((own, 0.3), (own, 1.0), (own[:0], 1.0)):
                sound = self.generator.generate(
                    self.condition(index, memory), seed=0, creativity=creativity
                ).media
                mels.append(mel_window(sound, self.generator.settings))
            lines.append(np.concatenate([np.pad(m[::-1], 2, constant_values=1) for m in mels], 1))
        picture = np.clip((np.concatenate(lines) + 9) / 12, 0, 1) * 255
        return Image.fromarray(picture.astype(np.uint8)).convert("RGB")


def judge(sounds: Sequence[Waveform]) -> Vectors | None:
    """Vectors (N, D) by the bundled audio encoder, a network that no loss here has seen."""
    from encoders.registry import load_profile

    encoder = load_profile("bundled").encoders.get("audio")
    return None if encoder is None else encoder.encode(sounds)


def window_of(sound: Waveform, length: int) -> Floats:
    """The samples that `mel_window` looks at, (length,)."""
    samples = resample(sound)
    samples = samples / max(float(np.abs(samples).max(initial=0.0)), 1e-4)
    loud = np.flatnonzero(np.abs(samples) > 0.05)
    start = max(0, int(loud[0]) - HOP) if len(loud) else 0
    cut = samples[start : start + length]
    return np.pad(cut, (0, length - len(cut)))


def errors(original: Floats, rebuilt: Floats) -> tuple[float, float]:
    """MSE and SNR in dB; phases are invented, so SNR is low however alike the two sound."""
    mse = float(np.square(original - rebuilt).mean())
    return mse, 10 * float(np.log10(np.square(original).mean() / max(mse, 1e-12)))


def row_of(name: str, rows: npt.NDArray[np.float64]) -> dict[str, object]:
    log_mel_distance, mse, snr, spent = rows.mean(0)
    return {
        "what": name,
        "log_mel": round(float(log_mel_distance), 3),
        "mse": round(float(mse), 4),
        "snr_db": round(float(snr), 2),
        "ms": round(float(spent)),
    }


if __name__ == "__main__":
    main()
