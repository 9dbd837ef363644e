"""The decisions: pure functions and tables, with no trio, no I/O and no clock.

``selection`` decides which entries are mirrored, ``reconcile`` what must happen to one path, ``renames`` which new
files are old ones, ``name_folding`` which names a target may take for one, ``removal_guard`` whether removals may
begin, ``schedule`` what may be done next, and ``temporary_names`` under which name a file is uploaded.
"""
