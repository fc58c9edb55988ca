"""ZeroMQ as PaintMQ uses it: sockets with every option set, keys, and the two transports."""
