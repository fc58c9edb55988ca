"""Does an odd call, plugin, output or request harm anybody else? See ``README.md``."""
