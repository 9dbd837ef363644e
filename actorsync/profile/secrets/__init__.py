"""Where secrets come from: files, programs, variables, the terminal; and how files are read that may hold them."""
