"""APIs that today's clients already speak, each a package of its own, mounted by the gateway.

Rule 1: an API translates: a request in its client's shape into a Task, a result into its client's
shape. Running the task is ``work.py``'s, and who may ask is the guard's.
Rule 2: what is "current", "in progress" or "to be interrupted" is the caller's own.
Rule 3: no client's mask is handed on as it came: ``pictures.py`` makes one channel of 0 and 255.
"""
