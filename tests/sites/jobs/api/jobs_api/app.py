"""Gives work to the site's workers and shows what became of it. All of it lies in the site's own Redis.

Environment: ``REDIS_URL``.
"""

import asyncio
import json
import os
from urllib.parse import parse_qs

import arq
from arq.connections import RedisSettings
from redis import Redis
from rq import Queue
from rq.job import Job


def create_app():
    """Make the WSGI application."""
    url = os.environ["REDIS_URL"]
    redis = Redis.from_url(url)
    answers = {
        ("POST", "/api/letters"): lambda query: {"id": _write_letter(redis, query["to"])},
        ("GET", "/api/letters"): lambda query: {"letter": Job.fetch(query["id"], redis).return_value()},
        ("POST", "/api/ticks"): lambda query: asyncio.run(_order_ticks(url, int(query["count"]))),
        ("GET", "/api/ticks"): lambda query: {"by_worker": _ticks(redis)},
        ("GET", "/api/redis"): lambda query: _about(redis),
    }

    def application(environ, start_response):
        answer = answers.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        start_response("200 OK" if answer else "404 Not Found", [("Content-Type", "application/json")])
        return [json.dumps(answer(query) if answer else {"error": "no such address"}).encode()]

    return application


def _write_letter(redis, name):
    return Queue("letters", connection=redis).enqueue("jobs_letters.letters.write", name).id


async def _order_ticks(url, count):
    pool = await arq.create_pool(RedisSettings.from_dsn(url))
    for number in range(count):
        await pool.enqueue_job("tick", number)
    await pool.aclose()
    return {"ordered": count}


def _ticks(redis):
    return {worker.decode(): int(count) for worker, count in redis.hgetall("ticks").items()}


def _about(redis):
    memory, persistence = redis.info("memory"), redis.info("persistence")
    return {
        "maxmemory": memory["maxmemory"],
        "policy": memory["maxmemory_policy"],
        "append_only": persistence["aof_enabled"] == 1,
        "port": redis.info("server")["tcp_port"],
        "niceness": os.nice(0),
    }
