"""A whole cluster in one process and no real time, replayable from one seed.

Broker, scheduler, workers and clients are the real machines, and every message goes through the
real codec. Only the world is simulated: the network delays, reorders, duplicates, loses and cuts;
processes crash, freeze and come back; the disk commits late, forgets what it had not committed,
and fills up. The same seed gives the same run, so a failing seed is a bug report::

    python -m paintmq.testing.simulation --seeds 100
"""
