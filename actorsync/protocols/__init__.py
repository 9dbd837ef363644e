"""Wire formats, sans-I/O: how bytes are read, and which bytes are to be written.

No trio, no I/O, no clock in here: bytes go in, values come out, so that every split of the wire can be tested
without one. ``ftp`` builds command lines and parses replies, ``ftp_replies`` knows what replies mean,
``ftp_dialogues`` holds whole conversations as generators, ``ftp_listing`` reads what MLSD and LIST send.
"""
