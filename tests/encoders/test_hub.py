"""Fetching from a hub: a local one, spoken to by huggingface_hub itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from model_hub import COMMIT, Hub

from encoders import hub
from encoders.errors import ModelUnavailable, UnknownName

REQUIRED = (("config.json",), ("model.safetensors", "pytorch_model.bin"))
REPO = "owner/model"


@pytest.fixture(autouse=True)
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"w" * 5000)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "vocab.json").write_text('{"a": 0}')  # equal files share a download
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: so-so\n---\n")
    return folder


def test_the_needed_files_are_fetched_weights_last(
    served: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="encoders.hub")
    folder = hub.fetch(REPO, REQUIRED, optional=("vocab.json", "merges.txt"))
    assert (folder / "model.safetensors").read_bytes() == b"w" * 5000
    assert served.downloads() == ["README.md", "vocab.json", "config.json", "model.safetensors"]
    assert hub.commit_of(folder) == COMMIT
    assert hub.licence_of(folder) == "so-so"
    (told,) = (record.message for record in caplog.records if record.name == "encoders.hub")
    assert told.startswith("fetching owner/model: 0.0 MB, licence so-so, into ")


def test_what_is_cached_is_not_asked_for_again(served: Hub) -> None:
    folder = hub.fetch(REPO, REQUIRED)
    served.requests.clear()
    assert hub.fetch(REPO, REQUIRED) == folder
    assert served.requests == []


def test_what_was_interrupted_goes_on(served: Hub) -> None:
    weights = served.folder / REPO / "model.safetensors"
    weights.rename(weights.with_suffix(".hidden"))
    (served.folder / REPO / "pytorch_model.bin").unlink()
    with pytest.raises(ModelUnavailable, match=r"none of model\.safetensors, pytorch_model\.bin"):
        hub.fetch(REPO, REQUIRED)
    weights.with_suffix(".hidden").rename(weights)
    assert (hub.fetch(REPO, REQUIRED) / "config.json").exists()


def test_names_that_there_are_not(served: Hub) -> None:
    with pytest.raises(UnknownName, match="has no model owner/other"):
        hub.fetch("owner/other", REQUIRED)
    for name in ("a/b/c", "..", "with space/x", ""):
        with pytest.raises(UnknownName, match="not the name of a model"):
            hub.fetch(name, REQUIRED)


def test_a_gated_model_says_what_to_do(served: Hub) -> None:
    (served.folder / REPO / "GATED").touch()
    with pytest.raises(ModelUnavailable, match="accept its terms"):
        hub.fetch(REPO, REQUIRED)


def test_no_card_no_licence(tmp_path: Path) -> None:
    assert hub.licence_of(tmp_path) is None
    (tmp_path / "README.md").write_text("no fields")
    assert hub.licence_of(tmp_path) is None
    (tmp_path / "README.md").write_text("---\nlicense: [mit, apache-2.0]\n---\n")
    assert hub.licence_of(tmp_path) == "mit, apache-2.0"
    (tmp_path / "README.md").write_text("---\n- not fields\n---\n")
    assert hub.licence_of(tmp_path) is None


SCRIPT = """
import logging, sys
logging.basicConfig(level="INFO")
from encoders import hub
from encoders.errors import ModelUnavailable
try:
    print(hub.fetch("owner/model", (("config.json",), ("model.safetensors",))))
except ModelUnavailable as error:
    sys.exit(str(error))
"""


def fetch_in_a_process(**environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """With the variables that people set, which huggingface_hub reads when it is imported."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**plain, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done, time.monotonic() - started


def test_hf_home_is_where_it_lies_and_progress_is_shown(served: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    # TQDM_POSITION=-1: a bar without a terminal, too.
    done, _ = fetch_in_a_process(HF_ENDPOINT=served.url, HF_HOME=str(home), TQDM_POSITION="-1")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(home)
    assert "fetching owner/model" in done.stderr
    assert "model.safetensors: 100%" in done.stderr

    served.requests.clear()
    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    again, _ = fetch_in_a_process(HF_ENDPOINT=served.url, **offline)
    assert again.stdout == done.stdout
    assert served.requests == []


def test_offline_says_so_at_once(served: Hub, tmp_path: Path) -> None:
    done, seconds = fetch_in_a_process(
        HF_ENDPOINT=served.url, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1"
    )
    assert done.returncode == 1
    assert "HF_HUB_OFFLINE=1" in done.stderr
    assert "hf download owner/model" in done.stderr
    assert served.requests == []
    assert seconds < 10


def test_without_a_network_it_gives_up_at_once(tmp_path: Path) -> None:
    """Not after half a minute per file, as huggingface_hub does by itself."""
    done, seconds = fetch_in_a_process(
        HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "home")
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in done.stderr
    assert "local folder" in done.stderr
    assert seconds < 10
