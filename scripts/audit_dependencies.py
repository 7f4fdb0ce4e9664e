"""Ask pip-audit for known vulnerabilities of what is installed; say plainly when it could not.

Exit code 1 for a vulnerability, or where installed packages do not fit together. Where no answer is
to be had (pip-audit cannot be installed, its service is not reached), exit code 0 and a line that
says so: being offline is no finding, and a silent success would be a false one.

    python scripts/audit_dependencies.py [--audit COMMAND]
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

PATIENCE_S = 300.0
NOT_DONE = "DEPENDENCY AUDIT NOT DONE"


def installed() -> list[str]:
    """`name==version` of what was installed by name: a project of our own has no vulnerabilities
    that a database knows."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    lines = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if "==" in line and "@" not in line]


def auditor(folder: Path) -> list[str]:
    """pip-audit in an environment of its own, so that it changes no version here."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    install = [str(python), "-m", "pip", "install", "--quiet", "pip-audit"]
    subprocess.run(install, check=True, timeout=PATIENCE_S)
    return [str(python), "-m", "pip_audit"]


def vulnerabilities(audit: list[str], folder: Path) -> list[dict[str, Any]]:
    """The dependencies that have any. Raises CalledProcessError where there was no answer."""
    requirements, report = folder / "requirements.txt", folder / "report.json"
    requirements.write_text("\n".join(installed()))
    command = [*audit, "--requirement", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--output", str(report), "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if not report.exists() or not report.read_text().strip():
        raise subprocess.CalledProcessError(done.returncode, "pip-audit", stderr=done.stderr)
    return [each for each in json.loads(report.read_text())["dependencies"] if each.get("vulns")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audit", type=shlex.split, help="command that is pip-audit already")
    given = parser.parse_args()
    if subprocess.run([sys.executable, "-m", "pip", "check"]).returncode:
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            found = vulnerabilities(given.audit or auditor(folder), folder)
        except (OSError, subprocess.SubprocessError) as error:
            told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            print(f"{NOT_DONE}: there was no answer ({told[-1][:200] if told else error})")
            return 0
    for each in found:
        ids = ", ".join(vulnerability["id"] for vulnerability in each["vulns"])
        print(f"{each['name']} {each['version']}: {ids}")
    print(
        f"dependency audit: {len(found)} of {len(installed())} packages have known vulnerabilities"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
