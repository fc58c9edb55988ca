"""Pencil drawings of photographs, for PaintMQ."""
