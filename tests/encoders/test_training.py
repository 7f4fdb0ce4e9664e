"""The parts of training: targets, recall, calibration, augmentation, cached maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoders.base import normalize
from encoders.bundled import text_and_image
from encoders.training.audio_data import augmented as augmented_sound
from encoders.training.calibrate import logistic
from encoders.training.class_head import Classes, grouped
from encoders.training.contrastive import (
    chance_at_k,
    contrastive_loss,
    multi_positive_targets,
    recall_at_k,
)
from encoders.training.data import Item
from encoders.training.features import Tail, cached, features_of, is_directed
from encoders.training.features import augmented as augmented_picture


def test_equal_captions_share_the_target() -> None:
    captions = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    expected = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(multi_positive_targets(captions), expected)


def test_the_loss_is_least_for_media_on_their_texts() -> None:
    texts = torch.eye(4)
    targets, scale = torch.eye(4), torch.tensor(3.0)
    right = contrastive_loss(texts, texts, scale, targets)
    wrong = contrastive_loss(texts.flip(0), texts, scale, targets)
    assert right < 0.01 < wrong


def test_recall_and_its_chance() -> None:
    relevant = np.eye(4, dtype=bool)
    vectors = normalize(np.eye(4))
    assert recall_at_k(vectors, vectors, relevant, 1) == 1.0
    assert recall_at_k(vectors, vectors[::-1], relevant, 1) == 0.0
    assert chance_at_k(relevant, 1) == pytest.approx(0.25)
    assert chance_at_k(relevant, 2) == pytest.approx(0.5)
    assert chance_at_k(relevant, 9) == 1.0


def test_the_logistic_map_separates_and_rises() -> None:
    rng = np.random.default_rng(0)
    fitted = logistic(rng.normal(0.5, 0.1, 200), rng.normal(0.1, 0.1, 5000))
    middle = -fitted.intercept / fitted.slope
    assert fitted.slope > 0
    assert middle == pytest.approx(0.3, abs=0.03)


def test_groups_join_the_nearest() -> None:
    vectors = normalize([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    groups = grouped(vectors, 3)
    assert len(set(groups.tolist())) == 3
    assert groups[0] == groups[1]


def test_imagined_photographs_show_a_class_and_train_towards_its_name() -> None:
    torch.manual_seed(0)
    weight = torch.randn(20, 64)
    classes = Classes(weight, torch.zeros(20), torch.nn.functional.normalize(torch.randn(20, 8)))
    features = torch.rand(50, 64)
    shown = classes.imagined(features)
    assert shown.shape == features.shape
    assert shown.min() >= 0
    sure = classes.likely(shown).max(dim=1).values.mean()
    assert sure > 0.9 > classes.likely(features).max(dim=1).values.mean()


def test_augmentation_repeats_with_its_seed() -> None:
    picture = Image.new("RGBA", (20, 30), "red")
    views = [augmented_picture(picture, seed) for seed in ("1", "1", "2")]
    assert views[0].tobytes() == views[1].tobytes() != views[2].tobytes()
    assert views[0].mode == "RGB"


@pytest.mark.parametrize("frames", [64, 200])
def test_an_augmented_sound_has_the_length_asked_for(frames: int) -> None:
    rng = np.random.default_rng(0)
    sound = rng.uniform(-8, 2, (80, 120)).astype(np.float32)
    changed = augmented_sound(sound, sound, frames, rng)
    assert changed.shape == (80, frames)
    assert np.abs(changed).max() <= 1


def test_first_blocks_and_tail_make_the_trunk(tmp_path: Path) -> None:
    items = []
    for number, colour in enumerate(("red", "teal", "gold")):
        Image.new("RGB", (40 + number, 30), colour).save(tmp_path / f"{colour}.png")
        items.append(
            Item(colour, "s", "", colour, "train", "image", f"{colour}.png", colour, (), "e", "CC0")
        )
    model = text_and_image()[1].model
    trunk = model.visual.get_submodule("trunk")
    for _ in range(2):  # computed, then read
        [maps] = cached(model, items, tmp_path, [0], tmp_path / "cache")
        features = features_of(Tail(trunk), maps, items)
    pixels = torch.stack([model.preprocess(Image.open(tmp_path / item.path)) for item in items])
    with torch.inference_mode():
        whole = trunk(pixels).numpy()
    np.testing.assert_allclose(features, whole, atol=0.02)  # the maps are kept in fp16
    assert np.abs(whole[0] - whole[1]).max() > 0.2


def test_arrows_are_not_mirrored() -> None:
    assert is_directed("left arrow")
    assert not is_directed("leftover food")
