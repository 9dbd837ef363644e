"""What several kinds of endpoint share."""
