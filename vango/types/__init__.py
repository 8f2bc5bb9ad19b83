"""The public contract as values."""
