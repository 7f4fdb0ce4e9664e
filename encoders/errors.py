"""What can go wrong when a profile is loaded."""

from __future__ import annotations


class UnknownName(ValueError):
    """No profile or model of that name; the message lists the valid ones."""


class ModelUnavailable(RuntimeError):
    """The weights of a known model cannot be had, or do not fit; the message says what to do."""
