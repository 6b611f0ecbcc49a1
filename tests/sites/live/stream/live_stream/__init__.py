"""Events of the site live."""
