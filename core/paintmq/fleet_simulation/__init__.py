"""A fleet of workers in simulated time, scheduled by the real engine and any router.

It answers "which router for my traffic": same scheduler, same decisions, no clock and no model.
Everything here is pure but ``description.py`` (reads TOML) and ``chart.py`` (draws PNG).
"""
