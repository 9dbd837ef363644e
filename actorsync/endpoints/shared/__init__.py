"""Code that several kinds of endpoint share. Internal."""
