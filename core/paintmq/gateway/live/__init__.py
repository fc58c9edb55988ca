"""News of tasks as they come: by WebSocket (``/v1/ws``) and by Server-Sent Events (``/v1/events``).

Rule 1: news are kept once for each owner, the latest of each task, however many listen: a slow
listener costs no memory, and misses steps in between, never how something ended.
Rule 2: news are numbered. Whoever was cut off says what it had, gets what came since, and is told
if some of that is no longer known.
Rule 3: previews are sent only to listeners who keep up.
"""
