"""Migrations, written by hand and run by `serving.storage.migrate`."""
