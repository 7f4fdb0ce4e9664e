"""The command line. Except for `serve` it talks to a running service over HTTP."""

from memory_service.cli.main import app

__all__ = ["app"]
