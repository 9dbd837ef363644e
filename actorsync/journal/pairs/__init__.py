"""What both sides of a two-way mirror agreed on, in the journal."""
