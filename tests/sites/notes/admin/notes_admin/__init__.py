"""Numbers about the site notes."""
