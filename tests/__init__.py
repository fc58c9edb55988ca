"""Tests of PaintMQ."""
