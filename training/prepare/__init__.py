"""Raw sources → canonical tables, one source per file."""
