"""The store behind `serving.ports`: memory, SQLite and PostgreSQL, one schema."""
