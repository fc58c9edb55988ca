"""A journal in plain text."""
