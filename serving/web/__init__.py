"""What every route shares: authentication, limits, exception → status."""
