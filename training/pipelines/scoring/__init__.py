"""Decisions for every client at once, as rows of the log or as leads."""
