"""Encoders: media in, unit vectors of a space out. Knows nothing about the service."""
