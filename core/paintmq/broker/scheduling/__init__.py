"""The engine around a router: which worker runs which task next. Pure."""
