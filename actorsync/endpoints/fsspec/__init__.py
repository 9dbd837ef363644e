"""Stores that fsspec knows: S3, Azure, Google Cloud Storage, WebDAV, SMB and more.

`open_fsspec` is the entry point of their URL schemes in ``pyproject.toml``; it imports fsspec only when it is called.
"""

from actorsync.endpoints.fsspec.endpoint import open_fsspec

__all__ = ["open_fsspec"]
