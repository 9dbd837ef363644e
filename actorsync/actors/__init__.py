"""The actors: one file each. ``supervisor`` starts them, and only it opens channels.

An actor gets its channel ends as arguments, closes them when it ends, and never sees the nursery it runs in.
``channels`` holds what they share: the messages that only actors exchange, and how channel ends are held.
"""
