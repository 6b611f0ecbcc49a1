"""A service of the site vault."""
