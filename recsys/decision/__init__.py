"""The funnel from a client's state and scores to an ordered, explained, logged list."""
