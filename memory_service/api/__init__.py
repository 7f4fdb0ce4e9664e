"""HTTP over `memory_service.app`. Never touches storage, encoders or generators."""
