"""The root of the checkout, for tests that read the project's own files or run its programs."""

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).parents[2]
