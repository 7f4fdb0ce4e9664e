"""How a training of pictures starts from what is there: linear maps, and weights of other latents.

What fits of the weights is taken over, so that the training goes on where the former ended.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from generator.image import PictureAutoencoder
from generator.latent_flow import LatentFlow

RECALLED = -4.0  # logit of what is recalled as it is, at first
LOG_VARIANCE = -6.0  # of latents, at first
OUTER = ("encoder.conv_out", "decoder.conv_out", "quant_conv", "post_quant_conv")


@torch.no_grad()
def start_from_patches(
    model: PictureAutoencoder, pictures: torch.Tensor, before: PictureAutoencoder | None
) -> None:
    """Set the linear maps of a model with `patches` by pictures (N, 3, S, S); its networks add
    nothing yet.

    With the autoencoder from `before`, whose latents may be others, their inner layers are its own,
    and the decoder gets what is as near as linear to its latents.
    """
    vae, channels = model.vae, model.settings.latent_channels
    _set_principal_components(model, pictures)
    if before is not None:
        inner = {
            name: tensor
            for name, tensor in before.vae.state_dict().items()
            if not name.startswith((*OUTER, "decoder.conv_in"))
        }
        vae.load_state_dict(inner, strict=False)
    for conv in (vae.encoder.conv_out, vae.decoder.conv_out):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    vae.quant_conv.bias[channels:] = LOG_VARIANCE
    if before is not None:
        read = before.vae.post_quant_conv(before.posterior(pictures).mode())
        given = model.posterior(pictures).mode()
        rows, wanted = (each.transpose(0, 1).flatten(1).T for each in (given, read))
        rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
        fitted = torch.linalg.lstsq(rows, wanted).solution  # (C + 1, C before)
        kernel, bias = before.vae.decoder.conv_in.weight, before.vae.decoder.conv_in.bias
        vae.decoder.conv_in.weight.copy_(torch.einsum("oihw,ci->ochw", kernel, fitted[:-1]))
        vae.decoder.conv_in.bias.copy_(bias + kernel.sum((2, 3)) @ fitted[-1])


def _set_principal_components(model: PictureAutoencoder, pictures: torch.Tensor) -> None:
    """Analysis and synthesis: of patches, not centred, since white is where pictures end."""
    patch = model.analysis.shape[-1]
    rows = F.unfold(pictures, patch, stride=patch).transpose(1, 2).flatten(0, 1)  # (N, 3 P P)
    _, axes = torch.linalg.eigh(rows.T @ rows / len(rows))
    axes = axes.flip(1).T[: len(model.analysis)]
    scale = (rows @ axes.T).std(dim=0)[:, None]
    model.analysis.copy_((axes / scale).view_as(model.analysis))
    model.synthesis.copy_((axes * scale).view_as(model.synthesis))


@torch.no_grad()
def start_from_flow(
    flow: LatentFlow, before: LatentFlow, latents: torch.Tensor, read: torch.Tensor
) -> None:
    """Take over a flow over other latents: `latents` (N, C, H, W) and its own, `read`, of the same
    pictures, both standardised. The first layer sees them through the nearest linear map; the last
    one says nothing yet.
    """
    inner = {
        name: tensor
        for name, tensor in before.state_dict().items()
        if not name.startswith(("unet.conv_in.weight", "unet.conv_out", "spread"))
    }
    flow.load_state_dict(inner, strict=False)
    rows, wanted = (
        (known if each.spread is None else known / each.spread[:, None, None])
        .transpose(0, 1)
        .flatten(1)
        .T
        for each, known in ((flow, latents), (before, read))
    )
    onto = torch.linalg.lstsq(rows, wanted).solution  # (C, C before)
    channels, former = onto.shape
    kernel, own = before.unet.conv_in.weight, flow.unet.conv_in.weight
    own[:, :channels] = torch.einsum("oihw,ci->ochw", kernel[:, :former], onto)
    for slot in range(flow.settings.slots):  # what is remembered, and its mark
        here, there = (each + slot * (each + 1) for each in (channels, former))
        memory = kernel[:, there : there + former]
        own[:, here : here + channels] = torch.einsum("oihw,ci->ochw", memory, onto)
        own[:, here + channels] = kernel[:, there + former]
    nn.init.zeros_(flow.unet.conv_out.weight)
    nn.init.zeros_(flow.unet.conv_out.bias)
    flow.unet.conv_out.bias[channels:] = RECALLED
