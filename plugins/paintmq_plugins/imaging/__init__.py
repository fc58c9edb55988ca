"""Image work that several models share: padding, high-resolution strategies, pasting, tiles.

Everything here works on NumPy arrays and knows no model. Nothing here is imported by a manifest.
"""
