"""Functions that call steps in order, one pipeline per file."""
