"""Submitting tasks and waiting for their results, blocking or with asyncio."""
