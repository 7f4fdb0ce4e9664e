"""The learned fusion as it is trained: `generator.learned_fusion` in torch, many at once.

Knows nothing about what it learns from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from generator.fusion import TEMPERATURE
from generator.learned_fusion import FusionSettings


class FusionNetwork(nn.Module):
    """(B, D) queries and (B, M, D) memories, of which those count where `there` (B, M).

    Before the first step it is the formula of `attention`: the projections' scores are near 0, and
    nothing is added to the fused vector.
    """

    def __init__(self, settings: FusionSettings) -> None:
        super().__init__()
        self.settings = settings
        dimension, width = settings.dimension, settings.heads * settings.head_width
        self.query = nn.Linear(dimension, width)
        self.key = nn.Linear(dimension, width)
        self.value = nn.Linear(dimension, width)
        self.inner = nn.Linear(2 * dimension + width, settings.hidden)
        self.outer = nn.Linear(settings.hidden, dimension)
        self.sharpness = nn.Parameter(-torch.full((settings.heads,), TEMPERATURE).log())
        for projection in (self.query, self.key):
            nn.init.normal_(projection.weight, std=0.02 * dimension**-0.5)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(
        self, query: torch.Tensor, memories: torch.Tensor, there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fused vectors (B, D) and shares (B, M); these are 0 where nothing is remembered."""
        scale = self.settings.dimension**0.5
        asked = self._heads(self.query(query[:, None] * scale))  # (B, H, 1, W)
        known = self._heads(self.key(memories * scale))  # (B, H, M, W)
        scores = (asked @ known.mT)[:, :, 0] / self.settings.head_width**0.5
        cosines = (memories @ query[..., None])[..., 0]
        scores = scores + self.sharpness.exp()[:, None] * cosines[:, None]
        # A row without memories must not become NaN: its weights are set to 0 afterwards.
        weights = scores.masked_fill(~there[:, None], -1e4).softmax(-1) * there[:, None]
        shares = weights.mean(1)
        plain = F.normalize(query + (shares[:, None] @ memories)[:, 0], dim=-1)
        heard = self._heads(self.value(memories * scale))
        context = (weights[:, :, None] @ heard)[:, :, 0].flatten(1)  # (B, H W)
        told = torch.cat([plain * scale, query * scale, context], -1)
        moved = plain + self.outer(F.gelu(self.inner(told), approximate="tanh"))
        return F.normalize(moved, dim=-1), shares

    def _heads(self, values: torch.Tensor) -> torch.Tensor:
        """(B, H, N, W) of (B, N, H W)."""
        size = (*values.shape[:2], self.settings.heads, self.settings.head_width)
        return values.view(size).transpose(1, 2)
