"""Shipped for plugin authors: factories, contract tests, a virtual clock and a cluster in one."""
