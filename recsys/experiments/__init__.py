"""Experiments: who sees what, what followed, and what may be concluded."""
