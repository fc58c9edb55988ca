"""Tasks over HTTP, for what does not speak ZeroMQ: ``paintmq http``, a client of the broker.

Rule 1: one guard stands before all routes, a plugin's included; nothing passes without a token.
Rule 2: nothing is read that was not announced, and no more than was allowed.
Rule 3: requests name models and bring bytes; no path or address in one is ever opened.
"""
