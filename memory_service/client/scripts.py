"""For scripts: what goes wrong with the service or with a file becomes one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from memory_service.client.failures import ServiceError, told


@contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with a line on stderr and exit code 1, rather than with a traceback."""
    try:
        yield
    except ServiceError as error:
        sys.exit(f"error: {told(error)}")
    except OSError as error:
        sys.exit(
            f"error: {error.filename}: {error.strerror}" if error.strerror else f"error: {error}"
        )
    except ValueError as error:
        sys.exit(f"error: {error}")
