"""What a Content-Type header says: one parse for the guard and the routes."""

JSON = "application/json"


def media_type(header: str) -> str:
    """Return the type in lower case, without its parameters: ``application/json``."""
    return header.partition(";")[0].strip().lower()
