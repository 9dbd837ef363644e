"""Running a profile against an embedded server that fails as the user asks, and reporting what a visitor saw."""
