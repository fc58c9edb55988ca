"""The systems that ``tests.benchmarks.peers`` measures, each as its own documents show its use.

A module has a function ``open_system(folder)``, a context manager. It starts what the system needs,
one worker that does one task at a time, and gives a ``System``.
"""
