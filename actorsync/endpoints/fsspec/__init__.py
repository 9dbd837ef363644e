"""Places that fsspec supports: S3, Azure, Google Cloud Storage, WebDAV, SMB and more. Internal.

`open_fsspec` is the entry point of their URL schemes in ``pyproject.toml``. It imports fsspec when it is called.
"""

from actorsync.endpoints.fsspec.endpoint import open_fsspec

__all__ = ["open_fsspec"]
