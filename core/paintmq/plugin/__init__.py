"""Plugins: finding, loading and checking them, and what they registered."""
