"""The one owner of all queue state: a pure machine, the engine it schedules with, and its shell."""
