"""The dependency audit says what was found, and does not take silence for an answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/audit_dependencies.py"
PLAYED = """
import json, sys
report = {report!r}
if report is None:
    print("Connection refused", file=sys.stderr)
else:
    open(sys.argv[sys.argv.index("--output") + 1], "w").write(json.dumps(report))
sys.exit(1)
"""
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
BROKEN = {"name": "broken", "version": "2.0", "vulns": [{"id": "PYSEC-1"}, {"id": "CVE-2"}]}


@pytest.mark.parametrize(
    ("report", "code", "says"),
    [
        (None, 0, "DEPENDENCY AUDIT NOT DONE: there was no answer (Connection refused)"),
        ({"dependencies": [SOUND]}, 0, "dependency audit: 0 of "),
        ({"dependencies": [SOUND, BROKEN]}, 1, "broken 2.0: PYSEC-1, CVE-2"),
    ],
)
def test_audit(tmp_path: Path, report: object, code: int, says: str) -> None:
    played = tmp_path / "audit.py"
    played.write_text(PLAYED.format(report=json.loads(json.dumps(report))))
    command = [sys.executable, str(SCRIPT), "--audit", f"{sys.executable} {played}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert says in done.stdout
