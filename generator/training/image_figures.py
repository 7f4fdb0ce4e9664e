"""Figures of the picture autoencoder on held-out pictures, beside a network that no loss has seen.

    python -m generator.training.image_figures --weights generator/weights [others]

Of real pictures and of each folder's reconstructions: PSNR, SSIM; recall of the caption by the
bundled tower, which the training may have used as a loss; and by `encoders.judge`, which it has
not: cosine to the original, whether the original is found among all others, and whether the class
stays the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from encoders.judge import looked_at
from generator.checkpoint import load_weights
from generator.image import Bytes, PictureAutoencoder, load_settings
from generator.training.image_autoencoder import HeldOut, load_pictures, reconstructed


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--runs", type=Path, default=Path("runs/image"))
    parser.add_argument("--weights", type=Path, nargs="+", default=[Path("generator/weights")])
    parser.add_argument("--sources", nargs="+", default=["stamps", "emoji", "openclipart"])
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--count", type=int, default=300, help="pictures, evenly from the split")
    args = parser.parse_args(argv)
    args.runs.mkdir(parents=True, exist_ok=True)
    models = {str(folder): autoencoder(folder) for folder in args.weights}
    items, pictures = load_pictures(args, 64)
    held_out = HeldOut.of(items, pictures, args.split, args.count)
    real = held_out.pictures
    seen, classes = looked_at(list(real))
    print(f"{len(real)} pictures of {args.split}, {len(held_out.names)} captions")
    print("| of | PSNR dB | SSIM | R@1 | R@10 | other: cosine | R@1 of the original | same class |")
    print("|---|---|---|---|---|---|---|---|")
    for name, model in {"real": None, **models}.items():
        made = real if model is None else reconstructed(model, real)
        vectors = held_out.image.encode([Image.fromarray(each) for each in made])
        found, guessed = looked_at(list(made))
        figures = [
            psnr_db(made, real),
            ssim(made, real),
            *held_out.recalls(vectors),
            float((found * seen).sum(axis=1).mean()),
            float(((found @ seen.T).argmax(axis=1) == np.arange(len(seen))).mean()),
            float((guessed == classes).mean()),
        ]
        print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


def autoencoder(folder: Path) -> PictureAutoencoder:
    model = PictureAutoencoder(load_settings(folder / "image.json")).eval()
    load_weights(model, folder / "image_vae.safetensors")
    return model


def psnr_db(made: Bytes, real: Bytes) -> float:
    """Mean over pictures, 60 dB at most."""
    error = np.square(made.astype(np.float64) - real).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / np.maximum(error, 255**2 / 1e6))).mean())


def ssim(made: Bytes, real: Bytes) -> float:
    pairs = zip(made, real, strict=True)
    return float(np.mean([structural_similarity(a, b, channel_axis=2) for a, b in pairs]))


if __name__ == "__main__":
    main()
