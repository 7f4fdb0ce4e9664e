"""Backups of the running store, as jobs. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from memory_service.clock import Clock
from memory_service.errors import NotConfigured
from memory_service.records import Job
from memory_service.services import checks
from memory_service.services.jobs import Jobs, Run
from memory_service.settings import Settings
from memory_service.storage.backup import backup
from memory_service.storage.copying import Progress
from memory_service.storage.store import Store

KIND = "backup"
TOLD_EVERY = 64  # contents


class Backups:
    """Into folders below the one that the settings name: callers give a name, never a path."""

    def __init__(self, store: Store, jobs: Jobs, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._settings = settings
        self._clock = clock

    def begin(self, name: str = "default", *, with_access: bool = False) -> Job:
        """Begin in the background. Made again under the same name, only what is new is copied.
        `with_access`: the API keys and the audit log, too.

        Raises InvalidInput, NotConfigured, and JobConflict while another one runs.
        """
        checks.namespace(name, "backup")
        if self._settings.backup_dir is None:
            raise NotConfigured(
                "no folder for backups is set: set MEMORY_SERVICE_BACKUP_DIR, or use the command "
                "memory-service backup"
            )
        parameters = {"name": name, "with_access": with_access}
        return self._jobs.start(KIND, parameters, lambda run: self._work(name, with_access, run))

    def _work(self, name: str, with_access: bool, run: Run) -> Mapping[str, Any]:
        assert self._settings.backup_dir is not None

        def told(progress: Progress) -> None:
            run.go_on()
            if progress.done % TOLD_EVERY == 0:
                run.progress(contents=progress.contents, done=progress.done)

        target = self._settings.backup_dir / name
        manifest, progress = backup(
            self._store.folder,
            target,
            self._clock.now(),
            with_access=with_access,
            on_progress=told,
        )
        run.progress(contents=progress.contents, done=progress.done)
        return {
            **asdict(progress),
            "name": name,
            "memories": manifest.memories,
            "access": sorted(manifest.access_sha256),
        }
