"""The project's own test tools: brokers, peers, trial models, fuzz and the simulated cluster."""
