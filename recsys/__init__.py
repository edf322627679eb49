"""The library: numbers in, numbers out. No web, no database, no environment, no clock."""
