"""Where trees live: one contract, and an implementation for each kind of place.

``contract`` is what actors know; ``local``, ``memory``, ``ftp``, ``sftp`` and ``fsspec`` keep it, and every one of them
passes ``actorsync.testing.check_endpoint``. ``simple`` makes a short one of your own. Foreign errors (of the system, of
trio, of a server) are turned into the errors of ``actorsync.errors`` here, at the edge, and nowhere else.
"""

from actorsync.endpoints.contract import Content, Endpoint, Session, Staged, Upload

__all__ = ["Content", "Endpoint", "Session", "Staged", "Upload"]
