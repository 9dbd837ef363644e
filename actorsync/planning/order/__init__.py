"""The order of copies and moves: rank after rank, biggest first."""
