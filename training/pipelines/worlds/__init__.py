"""The made-up operator: its tables, its cards, and models held against its truth."""
