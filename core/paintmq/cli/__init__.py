"""The paintmq command."""
