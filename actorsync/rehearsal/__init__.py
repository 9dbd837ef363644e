"""A rehearsal: a profile is run against an embedded server that fails as the user asks."""
