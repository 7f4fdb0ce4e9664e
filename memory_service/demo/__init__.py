"""The demonstration: a real service, a real sample, everything over HTTP, results as files."""
