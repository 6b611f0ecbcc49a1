"""The RQ worker of the site jobs."""
