"""`python -m memory_service.cli`, the same as the console script `memory-service`."""

from memory_service.cli import app

app(prog_name="memory-service")
