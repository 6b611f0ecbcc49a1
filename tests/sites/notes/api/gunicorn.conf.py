"""The site's own settings for gunicorn. What the site file says wins over them."""

forwarded_allow_ips = "127.0.0.1"
max_requests = 1


def post_worker_init(worker):
    """Let the application tell what it runs with."""
    from notes_api import app

    cfg = worker.cfg
    app.gunicorn.update(
        workers=cfg.workers,
        worker_class=cfg.worker_class_str,
        max_requests=cfg.max_requests,
        max_requests_jitter=cfg.max_requests_jitter,
        log_level=cfg.loglevel,
    )
