"""How values are kept in the tables of a journal: paths, numbers, entries, and single values by name."""
