"""Statistics, their history, and events."""
