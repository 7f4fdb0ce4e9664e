"""Measured ratios against a peer or a physical limit, both taken in the same run."""
