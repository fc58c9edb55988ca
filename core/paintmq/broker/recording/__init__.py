"""A broker's inputs as a file: recorded, and replayed."""
