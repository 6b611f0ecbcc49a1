"""The service behind /api/ of the site hello."""
