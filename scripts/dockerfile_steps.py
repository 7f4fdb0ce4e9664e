"""Run the Dockerfile's own install and start commands without a Docker engine.

COPY goes into a clean folder (as .dockerignore lets it), RUN into a fresh virtual environment, CMD
is started and HEALTHCHECK asked until it agrees; then SIGTERM, and the service has to end. The one
RUN that makes a user and a folder for it is left out: that needs an image.

    python3.11 scripts/dockerfile_steps.py [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ACCOUNT_COMMANDS = ("useradd", "adduser", "groupadd")
START_S, STOP_S = 120.0, 20.0


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(keyword, rest) of each instruction, comments dropped, continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(keyword.upper(), rest) for keyword, rest in parts]


def pairs(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(text))


@dataclass
class Image:
    """A folder that plays the part of the image's file system."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: Path = Path("/")
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """An image's path, absolute or of the work directory, in our folder."""
        return self.root / (self.workdir / path).relative_to("/")

    def run(self, keyword: str, rest: str) -> None:
        match keyword:
            case "ARG":
                name, equals, default = rest.partition("=")
                if name in os.environ or equals:
                    self.environment[name] = os.environ.get(name, default)
            case "ENV":
                for name, value in pairs(rest).items():
                    # Values that are paths of the image are paths in our folder here.
                    self.environment[name] = (
                        str(self.inside(value)) if value.startswith("/") else value
                    )
            case "WORKDIR":
                self.workdir = Path(rest)
                self.inside(".").mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = shlex.split(rest)
                for source in sources:
                    copy(ROOT / source, self.inside(target), into=target.endswith("/"))
            case "RUN" if rest.startswith(ACCOUNT_COMMANDS):
                print(f"left out: RUN {rest}", flush=True)
            case "RUN":
                print(f"RUN {rest}", flush=True)
                subprocess.run(
                    ["/bin/sh", "-c", rest], cwd=self.inside("."), env=self.shell(), check=True
                )
            case "CMD":
                self.command = json.loads(rest)
            case "HEALTHCHECK":
                self.health = json.loads(rest.partition("CMD")[2])

    def shell(self) -> dict[str, str]:
        venv = self.root / "venv"
        mine = {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(venv)}
        return {**os.environ, **self.environment, **mine}


def copy(source: Path, target: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "training"))
    else:
        shutil.copy(source, target / source.name if into else target)


def start_and_stop(image: Image) -> None:
    """Start CMD, wait until HEALTHCHECK agrees, stop by SIGTERM. Exits with what went wrong."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**image.shell(), "MEMORY_SERVICE_PORT": port, "MEMORY_SERVICE_AUTH": "open"}
    program = shutil.which(image.command[0], path=environment["PATH"])
    if program is None:
        sys.exit(f"{image.command[0]} was not installed")
    print(f"CMD {shlex.join(image.command)} (port {port})", flush=True)
    process = subprocess.Popen(
        [program, *image.command[1:]], cwd=image.inside("."), env=environment
    )
    try:
        started = time.monotonic()
        while subprocess.run(image.health, env=environment, stderr=subprocess.DEVNULL).returncode:
            if process.poll() is not None:
                sys.exit(f"the service ended with {process.returncode}")
            if time.monotonic() - started > START_S:
                sys.exit(f"not healthy after {START_S:.0f} s")
            time.sleep(0.5)
        print(f"healthy after {time.monotonic() - started:.1f} s", flush=True)
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code not in (0, -signal.SIGTERM):
        sys.exit(f"the service ended with {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", type=Path, help="use this folder, and leave it there")
    kept = parser.parse_args().keep
    folder = kept or Path(tempfile.mkdtemp(prefix="dockerfile-steps-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        image = Image(folder.resolve())
        image.inside("/data").mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(image.root / "venv")], check=True)
        for keyword, rest in instructions(ROOT / "Dockerfile"):
            image.run(keyword, rest)
        start_and_stop(image)
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    print("the Dockerfile's steps work")


if __name__ == "__main__":
    main()
