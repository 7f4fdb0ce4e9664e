"""The local hub, for all tests here that need one."""

from model_hub import served

__all__ = ["served"]
