"""The online application: requests in, decisions and events out."""
