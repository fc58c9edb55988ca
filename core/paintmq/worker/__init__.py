"""One process, one device: the machine that holds attempts, and the shells around it."""
