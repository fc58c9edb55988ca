"""The process in which models run."""
