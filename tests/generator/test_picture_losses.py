"""What pictures are compared by in training: pixels, the tower's view, the critic."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from encoders.bundled import FOLDER
from encoders.picture import Preparation
from generator.image import square, to_tensor
from generator.training.losses import (
    Perception,
    PictureLoss,
    Shares,
    hinge_loss,
    length_at,
    map_distance,
    patch_critic,
    pixel_loss,
    vector_distance,
)

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
SIDE_PX = 64  # of what the tower gets: little, so that the tests are fast


def stamp(name: str) -> Image.Image:
    with Image.open(SAMPLES / f"{name}.png") as image:
        return Image.fromarray(square(image, 64))


def tensor(*pictures: Image.Image) -> torch.Tensor:
    return to_tensor(np.stack([np.asarray(each) for each in pictures]))


@pytest.fixture(scope="module")
def perception() -> Perception:
    return Perception()


def drawn(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture as a layer makes it, and the layer's weights."""
    layer = torch.nn.Conv2d(3, 3, 1, bias=False)
    torch.nn.init.dirac_(layer.weight)
    return layer(picture), layer.weight


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """(made, target): a blurred cow and the cow."""
    cow = stamp("animals/mammals/bovines/cow")
    return tensor(cow.filter(ImageFilter.GaussianBlur(2))), tensor(cow)


def critical(share: float = 0.2, critic_from: int = 0) -> PictureLoss:
    torch.manual_seed(0)
    return PictureLoss(Shares(0, 0, share, critic_from), None, patch_critic(8))


def test_the_tower_sees_equal_changed_and_other_pictures_in_that_order(
    perception: Perception,
) -> None:
    cow = stamp("animals/mammals/bovines/cow")
    others = [cow.filter(ImageFilter.GaussianBlur(radius)) for radius in (0.5, 2)]
    others.append(stamp("vehicles/auto/beetle"))
    target = perception(tensor(cow), SIDE_PX)
    seen = [perception(tensor(other), SIDE_PX) for other in (cow, *others)]
    for distance in (map_distance, vector_distance):
        found = [float(distance(each, target)) for each in seen]
        assert found[0] == pytest.approx(0, abs=1e-6)
        assert found == sorted(found)
        assert found[1] > 0.001


def test_the_tower_is_given_what_it_is_given_in_serving(perception: Perception) -> None:
    cow = stamp("animals/mammals/bovines/cow")
    prepared = Preparation.of(FOLDER)
    shown = perception.shown(tensor(cow), prepared.side_px)[0].numpy()
    # Of 2; Pillow rounds and clips to bytes between its two passes. Another kernel gives 0.0053.
    assert np.abs(shown - prepared.pixels(cow)).mean() < 0.002


def test_the_tower_is_frozen_and_passes_gradients(
    perception: Perception, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    made, target = pair
    made.requires_grad_()
    map_distance(perception(made, SIDE_PX), perception(target, SIDE_PX)).backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
    assert not any(each.requires_grad for each in perception.parameters())
    assert not perception.training


def test_against_the_slope_all_judgements_fall(
    perception: Perception, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    made, target = pair
    loss = PictureLoss(Shares(1, 1, 0), perception, patch_critic(8), [SIDE_PX])
    slope, before = loss.slope(made, target, 0, made)
    _, after = loss.slope(made - slope / slope.norm(), target, 0, made)
    assert set(before) == {"pixels", "maps", "vectors"}
    assert sum(after.values()) < sum(before.values())


def test_without_tower_and_critic_the_slope_is_that_of_the_pixels(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    made, target = pair
    slope, terms = critical(share=0).slope(made, target, 9, made)
    made.requires_grad_()
    loss = pixel_loss(made, target)
    [expected] = torch.autograd.grad(loss, made)
    torch.testing.assert_close(slope, expected)
    assert terms == pytest.approx({"pixels": loss.item()})


def test_the_critic_is_heard_late_and_with_its_share(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    loss = critical(share=0.5, critic_from=10)
    made, last = drawn(pair[0])
    slopes = [loss.slope(made, pair[1], step, last)[0] for step in (10, 110, 1000)]
    early, half, late = slopes
    alone = float(length_at(last, made, early))
    assert alone > 0
    assert float(length_at(last, made, late - early)) == pytest.approx(0.5 * alone, rel=1e-4)
    assert float(length_at(last, made, half - early)) == pytest.approx(0.25 * alone, rel=1e-4)
    assert all(each.grad is None for each in (last, *loss.critic.parameters()))


def test_the_critic_learns_to_tell_and_changes_nothing_else(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    made, target = pair
    loss = critical()
    layer = torch.nn.Conv2d(3, 3, 1)
    own = {name: value.clone() for name, value in layer.state_dict().items()}
    first = loss.teach_critic(layer(made), target)
    for _ in range(60):
        last = loss.teach_critic(layer(made), target)
    assert last < 0.8 * first
    assert all(each.grad is None for each in layer.parameters())
    assert all(torch.equal(value, own[name]) for name, value in layer.state_dict().items())


def test_hinge_loss_asks_for_a_margin_and_no_more() -> None:
    far, near = torch.tensor([3.0]), torch.tensor([0.0])
    assert hinge_loss(far, -far) == 0
    assert hinge_loss(near, near) == 1
    assert hinge_loss(-far, far) == 4
