"""actorsync keeps a server an exact mirror of a directory, over N connections.

Layout, from the nouns up (each layer imports only those before it):

* ``errors``, ``model``: what is said. Frozen nouns, no I/O.
* ``planning``, ``protocols``: what is decided, and how bytes are read and written. Pure: no trio, no I/O, no clock.
* ``endpoints``: where trees live (local, memory, FTP), behind one contract.
* ``journal``: what each side looked like when they last agreed.
* ``actors``: one actor, one file. ``supervisor`` starts them and is the diagram.
* ``profile``, ``runner``: from a profile to runs, once or every so often.
* ``wording``, ``sink``, ``progress``, ``live_view``: what is shown, and how. ``signals``, ``foreground``: a run in the
  foreground, which Ctrl-C stops.
* ``cli``, ``inspection``, ``demo``: the commands.
* ``testing``: public; embedded servers, faults, and the conformance suite every endpoint passes.
"""

__version__ = "0.1.0"
