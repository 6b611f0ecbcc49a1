"""Lets the application tell how many processes it has."""


def post_worker_init(worker):
    from diary_api import app

    app.workers = worker.cfg.workers
