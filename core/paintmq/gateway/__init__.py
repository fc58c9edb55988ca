"""Tasks over HTTP, for programs that do not use ZeroMQ: ``paintmq http``, a client of the broker.

Rule 1: one guard checks every request before any route, a plugin's included; none passes without a
token.
Rule 2: a body is read only after its announced length and type were allowed, and no further.
Rule 3: requests name models and bring bytes; no path or address in one is ever opened.
"""
