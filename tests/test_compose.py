"""docker-compose.yml and Dockerfile keep what they promise; the real docker-compose reads them."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_docker_compose_accepts_it() -> None:
    done = subprocess.run(
        ["docker-compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_port_is_published_on_this_machine_only(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["ports"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_no_keys_are_asked_for_only_where_the_port_is_this_machines(
    compose: dict[str, Any],
) -> None:
    for service in compose["services"].values():
        assert service["environment"]["MEMORY_SERVICE_AUTH"] == "${MEMORY_SERVICE_AUTH:-open}"
    assert "--allow-remote" not in DOCKERFILE
    assert "MEMORY_SERVICE_AUTH=open" not in re.sub(r"#.*", "", DOCKERFILE)


def test_the_memory_lies_in_a_named_volume(compose: dict[str, Any]) -> None:
    assert "memory-data:/data" in compose["services"]["memory"]["volumes"]
    assert "memory-data" in compose["volumes"]
    assert re.search(r"^VOLUME /data$", DOCKERFILE, re.MULTILINE)
    assert "MEMORY_SERVICE_DATA_DIR=/data" in DOCKERFILE


def test_nothing_secret_is_preset(compose: dict[str, Any]) -> None:
    text = json.dumps(compose) + DOCKERFILE
    assert not re.search(r"password|secret|token|api_?key", text, re.IGNORECASE)


def test_the_image_does_not_run_as_root_and_checks_its_health() -> None:
    keywords = [line.split()[0] for line in DOCKERFILE.splitlines() if line[:1].isupper()]
    assert keywords.index("USER") < keywords.index("CMD")
    assert re.search(r"^USER (?!root)\w+$", DOCKERFILE, re.MULTILINE)
    assert "HEALTHCHECK" in keywords
    assert "/readyz" in DOCKERFILE


def test_the_image_can_evaluate(compose: dict[str, Any]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chosen = re.search(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert chosen
    assert set(chosen[1].split(",")) <= extras["optional-dependencies"].keys()
    assert compose["services"]["memory"]["build"]["args"]["EXTRAS"] == f"${{EXTRAS-{chosen[1]}}}"


@pytest.mark.parametrize(
    ("extras", "asked"), [("evaluation", ".[evaluation]"), ("", "."), ("a,b", ".[a,b]")]
)
def test_without_extras_the_project_alone_is_installed(extras: str, asked: str) -> None:
    (install,) = re.findall(r"^RUN pip install .* (\S*EXTRAS\S*)$", DOCKERFILE, re.MULTILINE)
    done = subprocess.run(
        ["/bin/sh", "-c", f"printf %s {install}"], env={"EXTRAS": extras}, capture_output=True
    )
    assert done.stdout.decode() == asked


def test_torch_is_the_tested_one() -> None:
    tested = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert tested
    assert f"TORCH_REQUIREMENT={tested[0]}" in DOCKERFILE
    assert tested[0] in (ROOT / "docker-compose.yml").read_text()


def test_the_image_has_the_version_of_the_project(compose: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert compose["services"]["memory"]["image"] == f"simmim:{version}"


def test_the_build_context_lets_in_what_is_copied() -> None:
    let_in = (ROOT / ".dockerignore").read_text()
    for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert f"!{source}" in let_in.splitlines()
