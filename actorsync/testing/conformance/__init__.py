"""The conformance suite that every endpoint passes."""
