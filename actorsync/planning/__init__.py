"""The decisions: pure functions and tables, with no trio, no I/O and no clock.

``selection`` says what of a tree is mirrored, ``reconcile`` what must happen to one path, ``guard`` whether removing
may begin at all, ``schedule`` what may be done next, ``temporary`` under which name a file is staged.
"""
