"""A small demo portal: what a client would see."""
