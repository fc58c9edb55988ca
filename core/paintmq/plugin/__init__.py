"""Plugins: found by entry point, loaded, checked, set aside, and what they registered."""
