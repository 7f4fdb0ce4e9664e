"""Generators: a condition made from memories in, new media out. Knows nothing about the service."""
