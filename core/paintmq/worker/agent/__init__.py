"""The process of a worker that speaks with the broker and never computes."""
