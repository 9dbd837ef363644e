"""The actors: one module each. Only ``supervisor`` opens channels and starts actors.

An actor gets its channel ends as arguments, closes them when it ends, and has no access to the nursery it runs in.
``messages`` defines what actors send to each other, and how they hold channel ends.
"""
