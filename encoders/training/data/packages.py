"""Gets the files of Debian and npm packages by their ordinary clients, without root."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

NPM_VERSIONS = {
    "emoji-datasource-google": "16.0.0",
    "@twemoji/svg": "15.0.0",
    "openmoji": "17.0.0",
    "fluentui-emoji": "1.3.0",
    "emojibase-data": "17.0.0",
    "@iconify-json/emojione": "1.2.3",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/fxemoji": "1.2.2",
    "@iconify-json/game-icons": "1.2.4",
    "@iconify-json/streamline-ultimate-color": "1.2.2",
    "@iconify-json/streamline-freehand-color": "1.2.2",
    "@iconify-json/streamline-emojis": "1.2.4",
    "@iconify-json/flat-color-icons": "1.2.3",
    "@iconify-json/temaki": "1.2.6",
}


def debian_path(package: str, path: str, cache: Path) -> Path:
    """The file or folder `path` (absolute, as installed) of a Debian package.

    Taken from the system when installed there, else downloaded and unpacked under `cache`.
    Raises RuntimeError when neither works.
    """
    if Path(path).exists():
        return Path(path)
    root = (cache / "debian" / package).resolve()  # the clients below run in other folders
    if not root.exists():
        download = root.parent / "archives" / package
        download.mkdir(parents=True, exist_ok=True)
        _call(["apt-get", "download", package], download)
        partial = root.with_name(f"{package}.partial")
        for archive in download.glob("*.deb"):
            _call(["dpkg", "-x", str(archive), str(partial)], download)
        partial.rename(root)
    found = root / path.lstrip("/")
    if not found.exists():
        raise RuntimeError(f"Debian package {package} holds no {path}")
    return found


def npm_folder(package: str, cache: Path) -> Path:
    """The unpacked folder of a pinned npm package."""
    folder = cache / "npm" / package.replace("/", "_").lstrip("@")
    if not (folder / "package").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _call(["npm", "pack", "--silent", f"{package}@{NPM_VERSIONS[package]}"], folder)
        for archive in folder.glob("*.tgz"):
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            archive.unlink()
    return folder / "package"


def _call(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise RuntimeError(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{' '.join(command)} failed: {error.stderr.strip()}") from error
