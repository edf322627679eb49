"""From files to validated tables, and from tables to the world as it was known at an instant."""
