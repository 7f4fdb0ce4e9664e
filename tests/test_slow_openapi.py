"""Requests that schemathesis draws from the OpenAPI document: no 5xx, and no status, content type
or body that the document does not have.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memory_service.demo.service import connect, running_service

SEED = 7
EXAMPLES = 10  # at most, of each operation
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
ENVIRONMENT = {
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
    "SCHEMATHESIS_HOOKS": "schemathesis_lines",
    "PYTHONPATH": str(Path(__file__).parent),
}
# Not as a plugin of pytest: every other run would load it.
SCHEMATHESIS = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]


@pytest.mark.slow
def test_the_document_is_kept(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", tmp_path / "log", profile="fake") as service:
        with connect(service.url) as client:
            client.store(text="a red fox", metadata={"place": "forest"})
            # With the first key that a drawn request makes, keys are asked for.
            key = client.create_key("schemathesis", "admin")["key"]
        command = [*SCHEMATHESIS, "run", f"{service.url}/openapi.json", "--no-color"]
        command += ["--seed", str(SEED), "--max-examples", str(EXAMPLES)]
        command += ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
        command += ["--request-timeout", "30", "--generation-database", "none"]
        command += ["--header", f"Authorization: Bearer {key}"]
        command += ["--exclude-path", "/keys/{key_id}"]  # it would revoke this one, too
        found = subprocess.run(
            [*command, "--continue-on-failure"],
            cwd=tmp_path,
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
        with connect(service.url) as client:
            assert client.ready()
