"""The search for a recipe, and contests with programs of others on the same files."""
