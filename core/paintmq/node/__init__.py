"""A node: what one machine has to offer, and the workers that offer it."""
