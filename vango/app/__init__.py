"""The HTTP edge: the only part that knows Quart, Hypercorn and Prometheus."""
