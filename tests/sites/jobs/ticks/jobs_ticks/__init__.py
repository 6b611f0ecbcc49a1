"""The ARQ worker of the site jobs."""
