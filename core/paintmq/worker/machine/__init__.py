"""The worker's state machine. Pure."""
