"""Pictures by Stable unCLIP: the image embedding of a CLIP model in, a picture out.

The same idea as unCLIP (Ramesh et al. 2022), whose decoder inverts CLIP's picture tower. It takes
vectors of the CLIP model that it was trained with: `stabilityai/stable-diffusion-2-1-unclip` those
of ViT-H-14 (laion2b_s32b_b79k), its `-small` those of ViT-L-14 (openai). Knows nothing about the
service; imports torch and diffusers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import StableUnCLIPImg2ImgPipeline

from encoders.base import Modality, Vectors, normalize
from generator.base import Condition, Generated
from generator.pipelines import PipelineGenerator, seeded

MAX_PROMPT_CHARS = 300  # CLIP reads 77 tokens


class UnclipGenerator(PipelineGenerator[StableUnCLIPImg2ImgPipeline]):
    modality: ClassVar[Modality] = "image"
    pipeline_class = StableUnCLIPImg2ImgPipeline
    kind = "unclip"
    wants = "model"

    def __init__(self, pipeline: StableUnCLIPImg2ImgPipeline, *given: Any) -> None:
        super().__init__(pipeline, *given)
        self._length = typical_length(pipeline)
        self._most_noise = int(pipeline.image_noising_scheduler.config.num_train_timesteps) - 1

    @staticmethod
    def dimension_of(pipeline: StableUnCLIPImg2ImgPipeline) -> int:
        return int(pipeline.image_normalizer.config.embedding_dim)

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A `PIL.Image.Image` RGB of the pipeline's size.

        `creativity` is the noise put on the embedding, as a share of the most that the pipeline
        knows: 0 keeps what the embedding says, 1 leaves nothing of it but the prompt: the words
        that were asked, and the heaviest remembered text.
        """
        vector = seen(condition)
        prompt = asked_and_remembered(condition)
        noise_level = round(creativity * self._most_noise)
        embedding = torch.from_numpy(vector * self._length)[None].to(self._pipeline.device)
        with self._lock:
            picture = self._pipeline(
                prompt=prompt,
                image_embeds=embedding.to(self._pipeline.dtype),
                noise_level=noise_level,
                num_inference_steps=self._steps,
                generator=seeded(seed),
            ).images[0]
        details = {"prompt": prompt, "noise_level": noise_level, "steps": self._steps}
        return Generated(picture.convert("RGB"), details)


def typical_length(pipeline: StableUnCLIPImg2ImgPipeline) -> float:
    """Of CLIP's embeddings before they are made unit vectors: sqrt(E |x|^2), from the mean and
    the standard deviation of each value that the pipeline was trained with."""
    normalizer = pipeline.image_normalizer
    squares = normalizer.mean.detach().float() ** 2 + normalizer.std.detach().float() ** 2
    return float(squares.sum().sqrt())


def seen(condition: Condition) -> Vectors:
    """(D,): of remembered pictures the mean by weight, or else the fused vector.

    Texts and pictures lie apart in CLIP's space (the modality gap, Liang et al. 2022), and the
    pipeline was trained on pictures' vectors only.
    """
    pictures = [
        weight * each.vector
        for each, weight in zip(condition.neighbours, condition.ranking, strict=True)
        if each.modality == "image"
    ]
    mean = normalize(np.sum(pictures, axis=0).astype(np.float32)) if pictures else condition.fused
    return mean if mean.any() else condition.fused


def asked_and_remembered(condition: Condition) -> str:
    """What was asked comes first: CLIP reads the beginning."""
    texts = dict.fromkeys((condition.words.strip(), heaviest_text(condition)))
    return ", ".join(each for each in texts if each)[:MAX_PROMPT_CHARS]


def heaviest_text(condition: Condition) -> str:
    return next((each.media[:MAX_PROMPT_CHARS] for each in condition.ranked("text")), "")
