"""The loop of trainings, on a model of one layer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from generator.training.epochs import Plan, descend, run_epochs, told


def train(folder: Path, *, fails_at: int | None = None, **options: object) -> list[str]:
    """What the epochs said of themselves; weights are in `folder`."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    optimizer = torch.optim.AdamW(model.parameters())
    said = []

    def update(step: int, random: np.random.Generator) -> dict[str, float]:
        if step == fails_at:
            raise KeyboardInterrupt
        inputs = torch.from_numpy(random.random((4, 3))).float() + torch.rand(4, 3)
        return {"loss": descend(model(inputs).square().mean(), model, optimizer)}

    def epoch_ends(step: int) -> str:
        torch.save(model.state_dict(), folder / "averaged.pt")
        said.append(f"{step} {model.training}")
        return "good"

    plan = Plan(**{"steps": 7, "epoch_steps": 2, "learning_rate": 0.1, "warm_up": 2, **options})  # type: ignore[arg-type]
    run_epochs(plan, folder / "tiny.pt", model, optimizer, update, epoch_ends)
    return said


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Last and averaged."""
    state = torch.load(folder / "tiny.pt", weights_only=True)
    averaged = torch.load(folder / "averaged.pt", weights_only=True)
    return state["model"] | {f"average {name}": each for name, each in averaged.items()}


def folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


def test_a_killed_training_comes_to_the_same_weights(tmp_path: Path) -> None:
    whole, killed = folder(tmp_path, "whole"), folder(tmp_path, "killed")
    train(whole)
    with pytest.raises(KeyboardInterrupt):
        train(killed, fails_at=5)  # within the third epoch, of which nothing is kept
    train(killed, resume=True)
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_training_left_off_within_an_epoch_comes_to_the_same_weights(tmp_path: Path) -> None:
    whole, left = folder(tmp_path, "whole"), folder(tmp_path, "left")
    train(whole)
    assert train(left, stop_at=3) == ["2 False", "3 False"]
    assert train(left, resume=True) == ["4 False", "6 False", "7 False"]
    expected, found = weights(whole), weights(left)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_another_seed_is_another_training(tmp_path: Path) -> None:
    one, other = folder(tmp_path, "one"), folder(tmp_path, "other")
    train(one)
    train(other, seed=1)
    assert not torch.equal(weights(one)["0.weight"], weights(other)["0.weight"])


def test_without_resume_it_starts_again(tmp_path: Path) -> None:
    train(tmp_path, stop_at=2)
    assert train(tmp_path) == ["2 False", "4 False", "6 False", "7 False"]


def test_every_epoch_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, stop_at=4)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.split(" loss ")[0] for line in lines] == ["step 2/7", "step 4/7"]
    assert all("; good; " in line for line in lines)


def test_steps_down_the_gradient_are_bounded() -> None:
    model = nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    loss = descend(
        1e6 * model(torch.ones(1, 2)).square().sum(),
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
    )
    assert loss > 0
    assert float((model.weight.detach() - before).norm()) <= 1.0 + 1e-5


def test_what_takes_long_before_the_first_step_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(told(range(40), "encoding")) == list(range(40))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" %")[0] for line in lines] == [f"encoding: {10 * n}" for n in range(10)]
    assert list(told(range(3), "encoding")) == [0, 1, 2]
    assert capsys.readouterr().out == ""
