"""A worker: an agent that speaks with the broker, and the process in which its models run."""
