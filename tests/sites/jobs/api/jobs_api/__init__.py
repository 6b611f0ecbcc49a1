"""What gives work to the workers of the site jobs."""
