"""Payloads between processes of one user on one machine, in memory instead of over TCP.

Each client that proves to be on the broker's machine gets an *arena*: a file without a name, made
by the broker, that the client, the broker and the model hosts which run its tasks have mapped. The
client writes an input into it once; the model reads it there; the host writes the result into it,
and the client reads that in place. Messages carry a *reference* (``reference.py``) instead of
bytes. A worker is given references after the same proof; whoever cannot prove it gets bytes.

Rule 1: an arena has no name and is sealed (``memory_file.py``). Nothing is left behind however a
process ends, and none can shrink it and so end another by SIGBUS.
Rule 2: an arena belongs to one connection of one client. The broker names no place in it to another
client, and takes no reference from a peer to a place that it did not grant to it.
Rule 3: a place is used again only when the broker, the writer to disk and the client have no view
of it any more: the objects that hold it (``ranges.py``) say so when they go. What a worker that was
lost may still write to is never used again.
Rule 4: each use of a place has a number, its *fence*, which stands in front of the payload too.
Whoever reads compares them: a place that was used again too early is seen.
Rule 5: a client can write into its arena at any time, and so spoil its own tasks and results alone.
What must hold against it, such as pixels outside a mask, is computed from copies.
"""
