"""The planner actor: compares listings with the journal and gives out operations in order."""
