"""The actors of a two-way run, besides the connections and the recorder that every run has."""
