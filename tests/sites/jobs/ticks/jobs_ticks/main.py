"""What the ARQ workers do: each counts the ticks that it got, under its own number.

Environment: ``REDIS_URL``; ``CHILLBOX_WORKER`` is the number of this copy, from 1.
"""

import asyncio
import os

from arq.connections import RedisSettings


async def tick(context, number):
    # Long enough for the other copy to get some, too.
    await asyncio.sleep(0.2)
    await context["redis"].hincrby("ticks", os.environ["CHILLBOX_WORKER"], 1)
    return number


class WorkerSettings:
    """Read by the command ``arq``."""

    functions = [tick]
    max_jobs = 1
    poll_delay = 0.1
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])
