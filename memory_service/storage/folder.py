"""The data folder itself: who may work on it, and whether it holds a store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from memory_service.errors import InvalidInput, StorageFailure

CATALOG = "catalog.sqlite3"


def hold(folder: Path) -> int:
    """Lock the folder until the descriptor that is returned is closed. Two processes with an index
    each would not see each other's memories: only one may. Raises StorageFailure."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageFailure(
            f"the data folder {folder} is in use by another process of this service: "
            "stop that one, or choose another data_dir",
            data_dir=str(folder),
        ) from None
    return descriptor


def require_not_held(folder: Path) -> None:
    """Raises StorageFailure where another process holds the folder now; makes nothing."""
    if (folder / "lock").exists():
        os.close(hold(folder))


def require_free(folder: Path) -> None:
    """Raises InvalidInput unless there is no such folder, or an empty one."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is not empty: choose another data_dir", data_dir=str(folder))
