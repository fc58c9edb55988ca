"""First-party plugins, written against the public API alone, as a third party would."""
