"""First-party routers: one policy a file."""
