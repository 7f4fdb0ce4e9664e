"""The examples, as people run them: against a service in a process of its own, on real stamps."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from memory_service.client import Client
from memory_service.demo.service import running_service
from memory_service.importer import scan, store_bundles

ROOT = Path(__file__).parents[2]
STAMPS = ROOT / "samples/tuxpaint-stamps"
KINDS = ("animals/birds", "food/fruit")


def example(name: str) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / f"examples/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At most seven stamps of each of two kinds."""
    folder = tmp_path_factory.mktemp("stamps")
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for picture in sorted((STAMPS / kind).glob("*.png"))[:7]:
            for file in (STAMPS / kind).glob(f"{picture.stem}.*"):
                shutil.copy(file, folder / kind)
    return folder


@pytest.fixture(scope="module", params=["fake", pytest.param("bundled", marks=pytest.mark.slow)])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stamps: Path
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with running_service(folder / "data", folder / "log", profile=request.param) as running:
        with Client(running.url) as client:
            store_bundles(client, scan(stamps).bundles, on_outcome=lambda outcome: None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, "MEMORY_SERVICE_URL", running.url)
            yield request.param


def test_recommend(service: str, stamps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("recommend").main(stamps)
    told = capsys.readouterr().out
    assert "12 stored, 0 there already" in told
    rows = re.findall(r"^ +(\d+)% the wish: (.+)$", told, re.M)
    assert [share for share, _ in rows] == ["0", "50", "100"]
    assert rows[0][1] != rows[2][1]  # the wish changes what is found


def test_guided_tour(service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tour"
    example("guided_tour").main(["an owl & a <hen>", "a red apple"], out)
    told = capsys.readouterr().out
    assert told.count("made again: the same") == 2
    assert re.search(r"\d\.\d\d text of (animals|food)/", told)
    for number in (1, 2):
        assert (out / f"{number}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{number}.wav").read_bytes().startswith(b"RIFF")
        assert (out / f"{number}.txt").read_text()
        if shutil.which("espeak-ng"):
            assert (out / f"{number}-guide.wav").read_bytes().startswith(b"RIFF")
    page = (out / "index.html").read_text()
    assert "an owl &amp; a &lt;hen&gt;" in page
    assert "<hen>" not in page


def test_describe_picture(service: str, stamps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = next((stamps / KINDS[0]).glob("*.png"))
    example("describe_picture").main(picture)
    first, caption, *rest = capsys.readouterr().out.splitlines()
    assert "No medical device" in first
    assert len(caption) > len("caption: ")
    own = picture.with_suffix(".txt").read_text().strip()
    assert any(own in line for line in rest)


def test_ask(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    example("ask").main("What does it eat?", STAMPS / "animals/mammals/cats/tiger.png", None)
    answer, *rest = capsys.readouterr().out.splitlines()
    assert rest
    if service == "bundled":
        assert answer == "The tiger eats deer and wild boar."
        assert "characters 0 to 34" in rest[0]


def test_classify_with_texts(
    service: str,
    stamps: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = example("classify_with_texts")
    monkeypatch.setattr(module, "FOLDS", 2)
    monkeypatch.setattr(module, "FEWEST", 5)
    module.main(stamps)
    told = capsys.readouterr().out
    assert "12 pictures, 2 classes: animals, food" in told
    assert re.search(r"picture and text: [01]\.\d{3} \(standard error 0\.\d{3}\)", told)
    assert re.search(r"the text adds [+-]\d\.\d{3} .*: it (helps|hurts|makes no difference)", told)


BRIGHT = {"A bright day, vents opened on their own.", "Another bright day."}


def test_greenhouse(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    example("greenhouse").main()
    told = capsys.readouterr().out
    assert set(re.findall(r"^hot: \S+ (.*)", told, re.M)) == BRIGHT
    assert set(re.findall(r"^like today: \S+ (.*)", told, re.M)) == BRIGHT
    assert "flickering: " in told


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_has_help_and_no_traceback(path: Path, tmp_path: Path) -> None:
    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        nowhere = {**os.environ, "MEMORY_SERVICE_URL": "http://127.0.0.1:9"}
        command = [sys.executable, str(path), *arguments]
        return subprocess.run(command, cwd=ROOT, env=nowhere, capture_output=True, text=True)

    told = ran("--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert "usage: " in told.stdout
    asked = {"ask": ["What?"], "guided_tour": ["a cow", "--out", str(tmp_path)]}
    alone = ran(*asked.get(path.stem, []))
    assert alone.returncode == 1
    (line,) = alone.stderr.splitlines()
    assert line.startswith("error: cannot reach http://127.0.0.1:9")
    assert line.endswith("is it running? (memory-service serve)")


@pytest.mark.parametrize("name", ["recommend", "describe_picture", "classify_with_texts"])
def test_a_file_that_is_missing_is_named(name: str) -> None:
    command = [sys.executable, str(ROOT / f"examples/{name}.py"), "nowhere/at.all"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: nowhere/at.all")


def test_what_a_text_is_made_from_holds_back_its_picture() -> None:
    module = example("classify_with_texts")
    fold = module.folds([f"a thing {n % 30}" for n in range(60)])
    assert set(fold.tolist()) == set(range(module.FOLDS))
    assert (fold[:30] == fold[30:]).all()  # equal texts are together


def test_a_classifier_is_right_where_it_can_be_and_not_where_it_cannot() -> None:
    module = example("classify_with_texts")
    random = np.random.default_rng(0)
    labels = random.integers(2, size=200)
    fold = module.folds([str(n) for n in range(200)])
    noise = random.standard_normal((200, 8))
    told = noise + 3 * labels[:, None]
    assert (module.predicted(told, labels, fold) == labels).mean() > 0.95
    assert (module.predicted(noise, labels, fold) == labels).mean() < 0.65
    right = {"picture": np.array([0, 1, 0, 1], bool), "picture and text": np.ones(4, bool)}
    gain, error = module.Result((), right, 0.5, ()).gain()
    assert gain == 0.5
    assert error == pytest.approx(np.std([1, 0, 1, 0], ddof=1) / 2)
