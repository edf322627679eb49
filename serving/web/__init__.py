"""What every page and every API shares: who asks, what may be asked, how a failure is said."""
