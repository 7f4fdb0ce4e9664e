"""Sounds by AudioLDM (Liu et al. 2023): a vector of CLAP in, a sound out.

It was trained with the vectors of sounds and is asked with those of texts; here it gets what is
remembered and asked for, in the space that both share. The hub's checkpoints go with the CLAP
model `laion/clap-htsat-unfused`. Knows nothing about the service; imports torch and diffusers.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers import AudioLDMPipeline

from encoders.base import Modality, Space, Vectors, Waveform, normalize
from generator.base import Condition, Generated
from generator.pipelines import STEPS, PipelineGenerator, seeded

LENGTH_S = 2.56
GUIDANCE = 2.5


class AudioLdmGenerator(PipelineGenerator[AudioLDMPipeline]):
    modality: ClassVar[Modality] = "audio"
    pipeline_class = AudioLDMPipeline
    kind = "audioldm"
    wants = "CLAP model"

    def __init__(self, pipeline: AudioLDMPipeline, *given: Any) -> None:
        super().__init__(pipeline, *given)
        self._nothing = _vector_of_nothing(pipeline)

    @classmethod
    def open(cls, name: str, space: Space, steps: int = STEPS) -> Self:
        with warnings.catch_warnings():  # diffusers maintains it no further, and says so
            warnings.simplefilter("ignore", FutureWarning)
            return super().open(name, space, steps)

    @staticmethod
    def dimension_of(pipeline: AudioLDMPipeline) -> int:
        return int(pipeline.text_encoder.config.projection_dim)

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A `Waveform` of 2.56 s at the vocoder's rate.

        `creativity` leads from the vector of what is remembered (0) to that of the query (1).
        """
        vector = between(condition, creativity)
        with self._lock:
            samples = self._pipeline(
                prompt_embeds=torch.from_numpy(vector)[None],
                negative_prompt_embeds=self._nothing,
                audio_length_in_s=LENGTH_S,
                num_inference_steps=self._steps,
                guidance_scale=GUIDANCE,
                generator=seeded(seed),
            ).audios[0]
        sound = np.clip(np.asarray(samples, np.float32), -1.0, 1.0)
        rate = int(self._pipeline.vocoder.config.sampling_rate)
        return Generated(Waveform(sound, rate), {"steps": self._steps, "guidance": GUIDANCE})


def between(condition: Condition, creativity: float) -> Vectors:
    """(D,), unit length: (1 - creativity) of the remembered sounds' mean by weight (of all
    memories' where none is a sound, of the query where there is none) plus creativity of the query.
    """
    pairs = list(zip(condition.neighbours, condition.ranking, strict=True))
    sounds = [(each, weight) for each, weight in pairs if each.modality == "audio"]
    remembered = np.zeros_like(condition.query)
    for each, weight in sounds or pairs:
        remembered = remembered + weight * each.vector
    if not remembered.any():
        return condition.query
    mixed = normalize((1 - creativity) * normalize(remembered) + creativity * condition.query)
    return mixed.astype(np.float32) if mixed.any() else condition.query


@torch.inference_mode()
def _vector_of_nothing(pipeline: AudioLDMPipeline) -> torch.Tensor:
    """(1, D): of the empty text, which guidance leads away from."""
    tokens = pipeline.tokenizer("", return_tensors="pt").to(pipeline.device)
    vector: torch.Tensor = pipeline.text_encoder(**tokens).text_embeds
    return torch.nn.functional.normalize(vector, dim=-1)
