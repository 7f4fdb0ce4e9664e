"""Tiny models with random weights, saved as the real ones are: made in a second, loaded alike."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import encoders.torchvision_import  # noqa: F401 - before open_clip

import open_clip  # isort: skip

CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}
# Off the defaults of open_clip, as those of a model card may be.
PREPROCESSING = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "resize_mode": "squash"}
CLAP_DIMENSION = 16  # as CLIP's: a bare vector does not tell of which it is


def card(licence: str) -> str:
    return f"---\nlicense: {licence}\ntags:\n- tiny\n---\n# Tiny\n"


def save_clip(folder: Path, seed: int = 0, licence: str | None = "mit") -> Path:
    """As open_clip saves it: configuration and one checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": CLIP, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    save_file(open_clip.CLIP(**CLIP).state_dict(), folder / "open_clip_model.safetensors")
    if licence:
        (folder / "README.md").write_text(card(licence))
    return folder


def save_clap(folder: Path, seed: int = 0, *, fusion: bool = False) -> Path:
    """As transformers saves it: configuration, extractor, tokenizer and weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a dog barks", "rain on a roof"], trainer)
    vocabulary = json.loads(tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in vocabulary["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    RobertaTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    ClapFeatureExtractor(truncation="fusion" if fusion else "rand_trunc").save_pretrained(folder)
    config = ClapConfig(
        text_config={
            "vocab_size": 300,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 34,
        },
        audio_config={
            "patch_embeds_hidden_size": 8,
            "hidden_size": 16,
            "depths": [1, 1],
            "num_attention_heads": [1, 2],
            "num_hidden_layers": 2,
            "enable_fusion": fusion,
            **({"fusion_type": "aff_2d", "enable_patch_fusion": True} if fusion else {}),
        },
        projection_dim=CLAP_DIMENSION,
    )
    torch.manual_seed(seed)
    ClapModel(config).save_pretrained(folder)
    (folder / "README.md").write_text(card("apache-2.0"))
    return folder
