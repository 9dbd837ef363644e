"""The nouns: what actors say to each other and what the journal remembers.

Everything here is frozen and free of I/O, of trio and of the clock. ``entry`` holds what a tree is made of,
``operation`` what may be done to one, ``event`` what has happened. Paths are text relative to a side's root,
with ``/`` between components and ``""`` for the root itself; bytes that are not UTF-8 travel as surrogate
escapes (PEP 383), so that any name a file system can hold survives the trip.
"""
