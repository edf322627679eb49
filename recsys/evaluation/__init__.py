"""Metrics with exact definitions, and intervals that say how far to trust them."""
