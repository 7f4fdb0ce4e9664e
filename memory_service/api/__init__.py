"""HTTP over `memory_service.app`. Never touches storage, encoders or generators."""

from memory_service.api.factory import create_app

__all__ = ["create_app"]
