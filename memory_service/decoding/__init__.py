"""Media decoded in processes of their own, so that bytes which crash a decoder end no service."""

from memory_service.decoding.decoders import Decoders, InProcess, Workers

__all__ = ["Decoders", "InProcess", "Workers"]
