"""The flow with latents of unlike prominence, its network small and saying nothing yet."""

import pytest
import torch

from generator import latent_flow
from generator.latent_flow import FlowSettings, LatentFlow, flow_loss, led_back

SPREAD = (1.0, 0.3)
GRID = (4, 4)


@pytest.fixture
def flow() -> LatentFlow:
    torch.manual_seed(0)
    settings = FlowSettings(
        grid=GRID,
        latent_channels=2,
        channels=(32, 32),
        token_width=16,
        dimension=8,
        slots=1,
        steps=8,
        spread=SPREAD,
    )
    flow = LatentFlow(settings).eval()
    for each in (flow.unet.conv_out.weight, flow.unet.conv_out.bias):
        torch.nn.init.zeros_(each)
    return flow


def recalls(flow: LatentFlow, logit: float) -> None:
    """Let the network say everywhere how much is the memory's."""
    with torch.no_grad():
        flow.unet.conv_out.bias[-1] = logit


def remembered(latents: torch.Tensor) -> torch.Tensor:
    return torch.cat([latents, torch.ones_like(latents[:, :1])], 1)


def tokens(flow: LatentFlow, count: int) -> torch.Tensor:
    return flow.tokens(torch.ones(count, 3, 8), torch.zeros(count, 3))


@torch.no_grad()
def test_a_network_that_says_nothing_is_the_best_linear_guess(flow: LatentFlow) -> None:
    """Against least squares over drawn latents, in each channel and at an early and a late time."""
    recalls(flow, -30)
    count = 400
    for time in (0.2, 0.9):
        latents = torch.randn(count, 2, *GRID) * torch.tensor(SPREAD)[:, None, None]
        noise = torch.randn_like(latents)
        noised = (1 - time) * latents + time * noise
        times, nothing = torch.full((count,), time), torch.zeros(count, 3, *GRID)
        guess = flow(noised, times, tokens(flow, count), nothing)[:, :2]
        for channel in range(2):
            given, wanted = noised[:, channel].flatten(), (noise - latents)[:, channel].flatten()
            slope = (given @ wanted) / (given @ given)
            assert guess[:, channel].flatten() == pytest.approx(slope * given, abs=0.12)


@torch.inference_mode()
def test_what_is_recalled_comes_back_as_it_is(flow: LatentFlow) -> None:
    """From any noise, and guidance does not lead beyond it."""
    recalls(flow, 30)
    best = torch.randn(1, 2, *GRID)
    for noise in (0.3, 1.0):
        start = (1 - noise) * best + noise * torch.randn(1, 2, *GRID)
        found = led_back(flow, start, tokens(flow, 1), remembered(best), noise)
        assert torch.allclose(found, best, atol=1e-4)


@torch.inference_mode()
def test_nothing_is_recalled_without_a_memory(flow: LatentFlow) -> None:
    start, nothing = torch.randn(1, 2, *GRID), torch.zeros(1, 3, *GRID)
    found = []
    for logit in (-30, 30):
        recalls(flow, logit)
        found.append(led_back(flow, start, tokens(flow, 1), nothing, 1.0))
    assert torch.equal(*found)
    assert torch.isfinite(found[0]).all()


class Constant:
    """A flow of velocity 1 where there is a condition, else 0; notes how many rows it computes."""

    def __init__(self, lead_until: float) -> None:
        self.settings = FlowSettings(
            GRID, latent_channels=2, steps=8, guidance=3.0, lead_until=lead_until
        )
        self.rows: list[int] = []

    def tokens(self, vectors: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def __call__(
        self, noised: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        assert len(noised) == len(time) == len(tokens) == len(memory)
        self.rows.append(len(noised))
        return tokens.any(-1).any(-1).float()[:, None, None, None].expand_as(noised)


@pytest.mark.parametrize(
    ("noise", "computed"), [(0.3, [6, 3, 3]), (0.5, [6, 6, 3, 3]), (1.0, [6] * 6 + [3, 3])]
)
def test_late_times_keep_the_lead_of_guidance(noise: float, computed: list[int]) -> None:
    start = torch.randn(3, 2, *GRID)
    always, kept = Constant(0.0), Constant(0.3)
    inputs = (start, torch.ones(3, 1, 1), torch.zeros(3, 3, *GRID), noise)
    found = led_back(always, *inputs)
    assert torch.allclose(found, start - 3.0 * noise, atol=1e-5)
    assert torch.equal(led_back(kept, *inputs), found)
    assert always.rows == [6] * len(computed)
    assert kept.rows == computed


def test_late_times_have_their_share(flow: LatentFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def noted(noised: torch.Tensor, time: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        seen.append(time)
        return torch.zeros(len(noised), 3, 1, 1)

    monkeypatch.setattr(flow, "forward", noted)
    count = 4000
    latents, vectors = torch.zeros(count, 2, 1, 1), torch.zeros(count, 3, 8)
    flow_loss(flow, latents, vectors, torch.zeros(count, 3), torch.zeros(count, 3, 1, 1))
    [times] = seen
    late = (times > latent_flow.LATE_FROM).float().mean()
    assert 0.17 < late < 0.28
    assert (times < 0.15).float().mean() > 0.07  # what is fine is drawn there
