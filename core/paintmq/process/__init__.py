"""What concerns this operating-system process alone: memory, descriptors, limits."""
