"""One machine's supervisor: detects hardware and keeps workers alive."""
