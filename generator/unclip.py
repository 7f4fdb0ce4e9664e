"""Pictures by Stable unCLIP: the image embedding of a CLIP model in, a picture out.

The same idea as unCLIP (Ramesh et al. 2022), whose decoder inverts CLIP's picture tower. It takes
vectors of the CLIP model that it was trained with: `stabilityai/stable-diffusion-2-1-unclip` those
of ViT-H-14 (laion2b_s32b_b79k), its `-small` those of ViT-L-14 (openai). Knows nothing about the
service; imports torch and diffusers.
"""

from __future__ import annotations

import threading
from typing import ClassVar

import numpy as np
import torch
from diffusers import StableUnCLIPImg2ImgPipeline

from encoders.base import Modality, Space, Vectors, normalize
from encoders.errors import ModelUnavailable
from generator.base import Condition, Generated, Generator
from generator.pipelines import open_pipeline, seeded

STEPS = 20
MAX_PROMPT_CHARS = 300  # CLIP reads 77 tokens


class UnclipGenerator(Generator):
    """Safe for use from several threads: one picture is made at a time."""

    modality: ClassVar[Modality] = "image"

    def __init__(
        self,
        pipeline: StableUnCLIPImg2ImgPipeline,
        fingerprint: str,
        name: str,
        space: Space,
        steps: int = STEPS,
    ) -> None:
        """Raises ModelUnavailable when the pipeline takes vectors of another dimension."""
        dimension = int(pipeline.image_normalizer.config.embedding_dim)
        if dimension != space.dimension:
            raise ModelUnavailable(
                f"{name} takes vectors of {dimension} values, pictures live in {space.id} with "
                f"{space.dimension}: start the profile openclip with the model that it goes with"
            )
        self.name = f"unclip {name}"
        self.fingerprint = fingerprint
        self.space_id = space.id
        self._pipeline = pipeline
        self._steps = steps
        self._length = typical_length(pipeline)
        self._most_noise = int(pipeline.image_noising_scheduler.config.num_train_timesteps) - 1
        self._lock = threading.Lock()  # the scheduler keeps the state of one run

    @classmethod
    def open(cls, name: str, space: Space, steps: int = STEPS) -> UnclipGenerator:
        """`owner/name` of the hub, or `local-dir:folder`; raises as `open_pipeline` does."""
        pipeline, fingerprint = open_pipeline(StableUnCLIPImg2ImgPipeline, name)
        return cls(pipeline, fingerprint, name, space, steps)

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A `PIL.Image.Image` RGB of the pipeline's size.

        `creativity` is the noise put on the embedding, as a share of the most that the pipeline
        knows: 0 keeps what the embedding says, 1 leaves nothing of it but the prompt. The
        prompt is the heaviest remembered text.
        """
        vector = seen(condition)
        prompt = heaviest_text(condition)
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


def heaviest_text(condition: Condition) -> str:
    return next((each.media[:MAX_PROMPT_CHARS] for each in condition.ranked("text")), "")
