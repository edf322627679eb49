"""``recsys-train offpolicy``: what a new policy would have earned, from the log of those before it."""
