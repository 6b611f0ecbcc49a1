"""The clock of the site live."""
