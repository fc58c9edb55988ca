"""A fleet of workers in simulated time, scheduled by the real engine and any router.

It answers "which router suits my traffic?": the same scheduler and the same decisions, without a
clock or models. Everything here is pure but ``description.py`` (reads TOML) and ``chart.py``
(draws PNG).
"""
