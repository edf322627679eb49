"""Features of clients and offers, built from a client's state, online and offline alike."""
