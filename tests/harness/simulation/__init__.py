"""A whole cluster in one process and no real time, replayable from one seed.

Broker, scheduler, workers and clients are the real machines, and every message goes through the
real codec. Only the world is simulated: the network delays, reorders, duplicates and loses messages
(``world.py``); processes crash, freeze, drain and restart (``faults.py``); the disk commits late,
forgets what it had not committed, damages a record, lies, and fills up (``store.py``); no two
clocks agree. The severity of all this and the size of the cluster are drawn from the seed. Once the
faults are over, every task must end, and the run is judged from outside (``oracle.py``). The same
seed gives the same run, so a failing seed is a bug report::

    python -m tests.harness.simulation --seeds 100
"""
