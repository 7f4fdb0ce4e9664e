"""Tiny pipelines of diffusers with random weights, saved as the real ones are, and loaded alike."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from tiny_models import card

import encoders.torchvision_import  # noqa: F401 - before diffusers

import diffusers  # isort: skip
import transformers  # isort: skip

UNCLIP_DIMENSION = 16
AUDIOLDM_DIMENSION = 16
_TOWER = {
    "vocab_size": 520,
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
}


def save_unclip(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    normalizer = diffusers.pipelines.stable_diffusion.StableUnCLIPImageNormalizer(
        embedding_dim=UNCLIP_DIMENSION
    )
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=transformers.CLIPImageProcessor(size=32, crop_size=32),
        image_encoder=transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(
                hidden_size=UNCLIP_DIMENSION,
                projection_dim=UNCLIP_DIMENSION,
                num_hidden_layers=1,
                num_attention_heads=4,
                image_size=32,
                intermediate_size=37,
                patch_size=8,
            )
        ),
        image_normalizer=normalizer,
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=_clip_tokenizer(folder),
        text_encoder=transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                **_TOWER, projection_dim=32, bos_token_id=512, eos_token_id=513, pad_token_id=513
            )
        ),
        unet=_unet(
            class_embed_type="projection",
            cross_attention_dim=32,
            projection_class_embeddings_input_dim=2 * UNCLIP_DIMENSION,  # and the level of noise
        ),
        scheduler=diffusers.DDIMScheduler(beta_schedule="scaled_linear"),
        vae=_vae(3),
    )
    return _save(pipeline, folder, "openrail++")


def save_audioldm(folder: Path, seed: int = 0) -> Path:
    from tiny_models import save_clap

    clap = save_clap(folder / "clap-for-its-tokenizer")
    torch.manual_seed(seed)
    text = transformers.ClapTextConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=34,
        projection_dim=AUDIOLDM_DIMENSION,
    )
    vocoder = transformers.SpeechT5HifiGanConfig(
        model_in_dim=8,
        sampling_rate=16_000,
        upsample_initial_channel=16,
        upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3, 5]],
        normalize_before=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        pipeline = diffusers.AudioLDMPipeline(
            vae=_vae(1),
            text_encoder=transformers.ClapTextModelWithProjection(text),
            tokenizer=transformers.RobertaTokenizerFast.from_pretrained(clap, model_max_length=32),
            unet=_unet(
                class_embed_type="simple_projection",
                class_embeddings_concat=True,
                projection_class_embeddings_input_dim=AUDIOLDM_DIMENSION,
                cross_attention_dim=(32, 64),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            ),
            scheduler=diffusers.DDIMScheduler(beta_schedule="scaled_linear"),
            vocoder=transformers.SpeechT5HifiGan(vocoder),
        )
    return _save(pipeline, folder, "cc-by-nc-sa-4.0")


def _unet(**options: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "block_out_channels": (32, 64),
            "attention_head_dim": 4,
            "layers_per_block": 1,
            **options,
        }
    )


def _vae(channels: int) -> Any:
    return diffusers.AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
    )


def _clip_tokenizer(folder: Path) -> Any:
    """Bytes, alone and at the end of a word, and nothing merged."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{each}</w>" for each in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({token: at for at, token in enumerate(tokens)}))
    merges.write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)


def _save(pipeline: Any, folder: Path, licence: str) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").write_text(card(licence))
    return folder
