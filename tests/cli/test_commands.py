"""The commands against a real service (profile fake) in a process of its own."""

import io
import json
import os
import re
import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from encoders.base import Space
from encoders.fake import FakeImageEncoder, FakeTextEncoder
from memory_service.bootstrap import build
from memory_service.cli import app
from memory_service.cli.serve import _application, hosts_of
from memory_service.client import Client, Forgotten
from memory_service.demo.service import running_service
from memory_service.records import Upload
from memory_service.settings import Settings

WIDE = {"COLUMNS": "200", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with running_service(folder / "data", folder / "log", profile="fake") as service:
        yield service.url


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """cow/bell .png .txt .wav, and a .png that is none."""
    folder = tmp_path / "media" / "farm"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32), "brown").save(folder / "cow.png")
    (folder / "cow.txt").write_text("A brown cow")
    tone = np.sin(np.arange(8000) / 8000 * 2 * np.pi * 220).astype(np.float32)
    soundfile.write(folder / "cow.wav", tone, 8000)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.md").write_text("ignored")
    return tmp_path / "media"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=WIDE)


def test_import_counts_and_can_be_run_again(url: str, media: Path) -> None:
    for status in ("stored", "duplicate"):
        result = invoke("import", str(media), "--url", url, "--namespace", "farm")
        assert result.exit_code == 1  # one was rejected
        assert re.search(rf"episodes {status} +│ 1 ", result.stdout)
        assert re.search(r"episodes rejected +│ 1 ", result.stdout)
        assert re.search(r"ignored by their name +│ 1 ", result.stdout)
        assert "rejected farm/broken:" in result.stdout


def test_store_retrieve_generate(url: str, media: Path, tmp_path: Path) -> None:
    cow = str(media / "farm/cow")
    stored = invoke(
        *("store", "--url", url, "--image", f"{cow}.png", "--text", f"@{cow}.txt"),
        *("--audio", f"{cow}.wav", "--metadata", '{"place": "farm"}', "--json"),
    )
    assert stored.exit_code == 0, stored.output
    episode = json.loads(stored.stdout)["episode"]["id"]

    found = invoke("retrieve", "--url", url, "--text", "A brown cow", "-m", "audio,text", "--json")
    results = json.loads(found.stdout)["results"]
    assert set(results) == {"audio", "text"}
    assert results["audio"][0]["memory"]["episode_id"] == episode

    made = invoke(
        *("generate", "--url", url, "--text", "A brown cow", "--output", "image,text"),
        *("--out-dir", str(tmp_path / "made"), "--seed", "3", "--json"),
    )
    assert made.exit_code == 0, made.output
    outputs = json.loads(made.stdout)["outputs"]
    assert [output["modality"] for output in outputs] == ["image", "text"]
    assert "data" not in outputs[0]
    Image.open(io.BytesIO(Path(outputs[0]["file"]).read_bytes())).load()


def test_nothing_found_says_where_it_looked(url: str) -> None:
    invoke("store", "--url", url, "-n", "meadow", "--text", "a lark")
    found = invoke("retrieve", "--url", url, "-n", "meadow", "--text", "a lark", "-k", "1")
    assert "a lark" in found.stdout
    other = invoke("retrieve", "--url", url, "-n", "medow", "--text", "a lark")
    assert other.exit_code == 0
    assert "nothing found in namespace 'medow', which holds nothing" in other.stdout
    assert "meadow" in other.stdout
    known = invoke("retrieve", "--url", url, "-n", "meadow", "--text", "a lark", "-m", "audio")
    assert known.stdout.strip() == "nothing found in namespace 'meadow'"


def test_a_series_and_a_modality_by_name(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("time,temperature [C]\n0,5\n60,9\n120,14\n")
    stored = invoke("store", "--url", url, "--sensor", str(log), "-n", "logs", "--json")
    assert json.loads(stored.stdout)["episode"]["memories"][0]["modality"] == "sensor"
    found = invoke(
        *("retrieve", "--url", url, "--media", f"sensor={log}", "-n", "logs"),
        *("-m", "sensor", "--json"),
    )
    assert json.loads(found.stdout)["results"]["sensor"][0]["cosine"] > 0.99


def test_sweep_and_consolidate(url: str) -> None:
    for number in range(3):
        note = f"a red fox runs over the green hill {number}"
        assert invoke("store", "--url", url, "--text", note, "-n", "near").exit_code == 0
    invoke("store", "--url", url, "--text", "soon gone", "-n", "near", "--ttl-s", "0.001")
    swept = json.loads(invoke("sweep", "--url", url, "--json").stdout)
    assert swept["deleted"] in (0, 1)  # the service sweeps by itself, too
    given = ("consolidate", "--url", url, "-n", "near", "-m", "text", "--threshold", "0.8")
    assert "groups" in invoke(*given, "--dry-run").stdout
    job = json.loads(invoke(*given, "--json").stdout)
    assert (job["result"]["groups"], job["result"]["members"]) == (1, 3)
    query = ("retrieve", "--url", url, "--text", "fox", "-n", "near", "-m", "text", "--json")
    (hit,) = json.loads(invoke(*query, "--strength-weight", "1").stdout)["results"]["text"]
    assert hit["memory"]["prototype"]
    undone = invoke("consolidate", "--url", url, "--undo", job["id"], "--json")
    assert json.loads(undone.stdout) == {"prototype_ids": [hit["memory"]["id"]]}
    assert len(json.loads(invoke(*query, "--no-reinforce").stdout)["results"]["text"]) == 3
    assert invoke("consolidate", "--undo", "x", "--dry-run").exit_code == 1


def test_tables_are_readable(url: str, media: Path, tmp_path: Path) -> None:
    cow = str(media / "farm/cow")
    assert "A brown cow" in invoke("store", "--url", url, "--text", f"@{cow}.txt").stdout
    assert "A brown cow" in invoke("retrieve", "--url", url, "--text", "cow").stdout
    made = invoke("generate", "--url", url, "--text", "cow", "--out-dir", str(tmp_path))
    assert "made from" in made.stdout
    assert "text" in invoke("stats", "--url", url).stdout
    models = invoke("models", "--url", url).stdout
    assert "image/png" in models
    assert "max_upload_bytes" in models
    assert json.loads(invoke("models", "--json", "--url", url).stdout)["profile"] == "fake"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["store"], "nothing to store"),
        (["retrieve"], "no query"),
        (["generate"], "no query"),
        (["store", "--text", "a", "--metadata", "[]"], "--metadata must be a JSON object"),
        (["retrieve", "--text", "a", "--filter", "{"], "--filter is not JSON"),
        (["retrieve", "--text", "a", "--mode", "psychic"], "psychic|direct"),
        (["retrieve", "--text", "a", "-m", "smell"], "smell"),
        (["store", "--image", "nowhere.png"], "nowhere.png"),
        (["store", "--media", "depth"], "NAME=FILE"),
        (["generate", "--text", "a", "--output", "sensor"], "no generator for sensor"),
        (["import", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_a_mistake_is_one_clear_line(url: str, arguments: list[str], says: str) -> None:
    result = invoke(*arguments, "--url", url)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert re.search(says, result.stderr)
    assert result.stderr.count("\n") == 1


def test_a_service_that_is_not_there_is_named() -> None:
    result = invoke("stats", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "is it running?" in result.stderr


def test_an_import_without_a_service_shows_no_progress(media: Path) -> None:
    result = invoke("import", str(media), "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "importing" not in result.output
    assert "is it running? (memory-service serve)" in result.stderr


def test_the_address_comes_from_the_environment() -> None:
    result = CliRunner().invoke(
        app, ["stats"], env={**WIDE, "MEMORY_SERVICE_URL": "http://[::1]:1"}
    )
    assert "[::1]:1" in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_serve_refuses_an_address_that_others_reach(host: str, tmp_path: Path) -> None:
    result = invoke("serve", "--host", host, "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert f"memory-service keys create --name first --scope admin --data-dir {tmp_path}" in (
        result.stderr
    )
    assert "--allow-remote" in result.stderr
    required = CliRunner().invoke(
        app,
        ["serve", "--data-dir", str(tmp_path / "data"), "--allow-remote"],
        env={**WIDE, "MEMORY_SERVICE_AUTH": "required"},
    )
    assert required.exit_code == 1
    assert "keys create" in required.stderr


def test_forgetting(url: str) -> None:
    where = ("--url", url, "--namespace", "forest")
    ids = [
        json.loads(invoke("store", *where, "--text", text, *more, "--json").stdout)["episode"]["id"]
        for text, *more in (
            ("an owl", "--metadata", '{"bird": true}'),
            ("a jay", "--metadata", '{"bird": true}'),
            ("a fox",),
        )
    ]
    birds = ("forget", *where, "--filter", '{"bird": true}')
    counted = invoke(*birds, "--dry-run", "--json")
    assert json.loads(counted.stdout) == {"expected": 2}
    guarded = invoke(*birds)
    assert guarded.exit_code == 1
    assert "nothing was forgotten: 2 memories would be" in guarded.stderr
    assert "add --expected 2" in guarded.stderr
    assert "nothing to forget" in invoke("forget", "--url", url, "-n", "moor", "--all").stderr
    assert "not 3" in invoke(*birds, "--expected", "3").stderr
    done = invoke(*birds, "--expected", "2", "--wait", "--probe")
    assert done.exit_code == 0, done.output
    assert "nothing of it is left" in done.stdout
    receipt = json.loads(invoke("forget", "--url", url, "--episode", ids[2], "--json").stdout)
    assert receipt["episode_ids"] == [ids[2]]
    shown = invoke("receipt", receipt["id"], "--url", url, "--json")
    assert json.loads(shown.stdout)["memory_ids"] == receipt["memory_ids"]
    invoke("store", *where, "--text", "a wolf")
    assert "forest" in invoke("namespaces", "--url", url).stdout
    dropped = invoke("forget", "--url", url, "--drop-namespace", "forest", "--expected", "1")
    assert dropped.exit_code == 0, dropped.output
    assert "forest" not in invoke("namespaces", "--url", url).stdout
    assert invoke("forget", "--url", url).exit_code == 1
    assert invoke("forget", "--url", url, "--all", "--episode", "x").exit_code == 1


@pytest.mark.parametrize(("more", "follow"), [((), True), (("--no-follow",), False)])
def test_a_large_forgetting_is_followed(
    url: str, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], follow: bool
) -> None:
    asked = []

    def forget(client: Client, *given: Any, **how: Any) -> Forgotten:
        asked.append(how["follow"])
        damaged = ["m1 vector_broken"]
        return Forgotten.read({"id": "r1", "complete": follow, "job": "j1", "damaged": damaged})

    monkeypatch.setattr(Client, "forget_matching", forget)
    monkeypatch.setattr(Client, "forget_namespace", forget)
    invoke("store", "--url", url, "--namespace", "marsh", "--text", "a heron")
    for what in (("--all", "-n", "marsh"), ("--drop-namespace", "marsh")):
        done = invoke("forget", "--url", url, *what, "--expected", "1", *more)
        assert done.exit_code == 0, done.output
        assert ("GET /jobs/j1" in done.stdout) is not follow
        assert "m1 vector_broken" in done.stdout
    assert asked == [follow, follow]


def test_serve_names_a_wrong_setting() -> None:
    result = invoke("serve", "--threads", "0")
    assert result.exit_code == 1
    assert "setting threads" in result.stderr


def test_client_commands_do_not_load_models() -> None:
    """A command has to answer at once, and torch takes seconds to import."""
    import subprocess
    import sys

    program = (
        "import sys, memory_service.cli; print('torch' in sys.modules, 'faiss' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["False", "False"]


def test_serve_names_a_wrong_log_level() -> None:
    result = invoke("serve", "--log-level", "loud")
    assert result.exit_code == 1
    assert "debug, info, warning" in result.stderr


def test_serve_says_why_it_does_not_start(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.sqlite3"
    catalog.write_bytes(b"no database" * 100)
    result = invoke("serve", "--data-dir", str(tmp_path), "--profile", "fake", "--port", "0")
    assert result.exit_code == 1
    assert "error: opening the catalog failed" in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_looks_at_the_folder_before_it_loads_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memory_service import bootstrap
    from memory_service.storage.folder import hold

    monkeypatch.setattr(bootstrap, "build", lambda settings: pytest.fail("it was built"))
    held = hold(tmp_path)
    result = invoke("serve", "--data-dir", str(tmp_path), "--profile", "fake", "--port", "0")
    os.close(held)
    assert result.exit_code == 1
    assert "is in use by another process" in result.stderr


def test_the_version_is_told() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"memory-service {version('simmim')}\n")


def test_generations_are_listed(url: str, tmp_path: Path) -> None:
    invoke("store", "--text", "an owl", "-n", "listed", "--url", url)
    asked = ["--text", "what owls do", "-o", "text", "-n", "listed", "--url", url]
    for _ in range(2):
        made = invoke("generate", *asked, "--out-dir", str(tmp_path))
        assert made.exit_code == 0
    page = invoke("generations", "-n", "listed", "--limit", "1", "--url", url)
    assert "owls" in page.stdout  # in a narrow terminal it is folded
    (after,) = re.findall(r"--after (\S+)", page.stdout)
    assert after in page.stdout
    rest = invoke("generations", "-n", "listed", "--after", after, "--json", "--url", url)
    told = json.loads(rest.stdout)
    assert len(told["generations"]) == 1
    assert told["next"] is None


def test_a_number_that_is_none_is_one_line(url: str) -> None:
    result = invoke("generate", "--text", "a", "--creativity", "nan", "--url", url)
    assert result.exit_code == 1
    assert result.stderr.startswith("error:")


def test_the_log_names_requests(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_service(tmp_path / "data", log, profile="fake") as service:
        httpx.get(f"{service.url}/stats", headers={"X-Request-Id": "number-7"}, trust_env=False)
        port = int(service.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"POST /store HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
    written = log.read_text()
    assert re.search(r"GET /stats 200 .* \[number-7\]", written)
    assert "Traceback" not in written  # a caller who hangs up is no fault of the service


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "LOCALHOST:1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Origin": "http://127.0.0.1:9"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_other_hosts_are_refused(url: str, headers: dict, status: int) -> None:
    answer = httpx.get(f"{url}/stats", headers=headers, trust_env=False)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("127.0.0.1", "auto", ["localhost", "127.0.0.1", "::1", "127.0.0.1"]),
        ("0.0.0.0", "auto", None),
        ("0.0.0.0", "a.example, b.example", ["a.example", "b.example"]),
        ("127.0.0.1", "*", None),
    ],
)
def test_hosts(host: str, allowed: str, expected: list[str] | None) -> None:
    assert hosts_of(Settings(host=host, allowed_hosts=allowed)) == expected


def test_serve_logs_once_that_the_store_needs_re_embedding(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "my data", profile="fake")
    with build(settings) as application:
        application.memory.store([Upload("text", b"a fox"), Upload("sensor", b"light\n1\n2\n")])
    for encoder in (FakeTextEncoder, FakeImageEncoder):
        monkeypatch.setattr(encoder, "space", Space("fake", 384, "fake-2"))
    with caplog.at_level("WARNING", "memory_service"), _application(settings):
        (line,) = caplog.messages
    assert "text vectors were made" in line
    assert "sensor vectors were made" in line
    assert f"reembed --profile fake --data-dir '{tmp_path}/my data'" in line
