"""Where clients, catalogue, decisions and events are kept.

`serving.storage.sql.SqlStore` keeps them in SQLite or PostgreSQL, `serving.storage.memory.MemoryStore` in
the process, for tests. Both follow `serving.ports.Store`. `serving.storage.migrate.migrate` brings a
database to the schema this program knows; a server does not do it by itself.
"""
