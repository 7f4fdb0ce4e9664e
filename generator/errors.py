"""What can go wrong with a generator that is not of this package."""

from __future__ import annotations


class BackendFailed(RuntimeError):
    """An endpoint or pipeline did not answer, or answered what cannot be used; says which."""
