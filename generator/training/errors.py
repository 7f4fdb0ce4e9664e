"""How a training ends in words: `train` prints them, and exits with 1."""

from __future__ import annotations


class Refused(ValueError):
    """It lacks something, or would not be what was asked for; the message says what to do."""
