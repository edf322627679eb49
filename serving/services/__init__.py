"""One use case, one function; no HTTP, no SQL."""
