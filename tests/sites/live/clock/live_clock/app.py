"""The server's time: once under ``/clock/now``, and again and again over a WebSocket under ``/clock/ticks``."""

import asyncio
import time

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute


def create_app():
    """Make the ASGI application."""
    return Starlette(routes=[Route("/clock/now", now), WebSocketRoute("/clock/ticks", ticks)])


async def now(request):
    return JSONResponse({"seconds": time.time(), "server": request.scope["asgi"]["version"]})


async def ticks(socket):
    await socket.accept()
    for number in range(3):
        await socket.send_json({"tick": number})
        await asyncio.sleep(0.1)
    await socket.close()
