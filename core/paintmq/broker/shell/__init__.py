"""The one loop of a broker that touches sockets, clock and disk."""
