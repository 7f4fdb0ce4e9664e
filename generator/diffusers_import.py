"""Take diffusers' models from here: with the workaround it needs, and not before they are used.

Importing diffusers takes seconds; what is served from compiled graphs does without.
"""

import encoders.torchvision_import  # noqa: F401

# isort: split
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

__all__ = ["AutoencoderKL", "DiagonalGaussianDistribution", "UNet2DConditionModel"]
