"""Settings: from paintmq.toml and the environment to a checked Config."""
