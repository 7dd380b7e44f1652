"""Puts an application on a port, with Hypercorn inside the caller's nursery."""

import logging
import socket
from typing import Any, Final

import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework

GRACE_S: Final = 2.0
"""How long requests that run may go on after the word to stop."""

KEEP_ALIVE_S: Final = 75
"""How long a connection may idle: longer than Prometheus' usual minute between scrapes."""

_READ_S: Final = 930  # a reader of events says nothing; half a request is let go by keep-alive, and by Quart
_BACKLOG: Final = 128
_UNREAD_MS: Final = 5000


async def serve_http(
    app: ASGIFramework,
    host: str,
    port: int,
    *,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` until ``shutdown`` is set.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port to listen on; 0 takes any that is free.
        shutdown: set to stop: idle connections end at once, requests that run within ``GRACE_S`` seconds,
            answers that nobody reads within five.
        task_status: gets the bound address and port once connections are taken.

    Raises:
        OSError: the address cannot be bound.

    Cancellation: every connection is closed, but for an answer that nobody reads: it ends as above.
    """
    with _listen(host, port) as listener:
        config = _Config(listener)
        config.backlog = _BACKLOG
        config.graceful_timeout = GRACE_S
        config.keep_alive_timeout = KEEP_ALIVE_S
        config.read_timeout = _READ_S
        config.include_server_header = False
        # Through the standard library, and so through our own log, from warnings up. No access log: the
        # probes alone would fill it, and actions are logged by the API.
        config.errorlog = logging.getLogger("hypercorn.error")
        bound_host, bound_port, *_ = listener.getsockname()
        async with trio.open_nursery() as nursery:
            await nursery.start(_serve, app, config, shutdown)
            task_status.started((bound_host, bound_port))


async def _serve(
    app: ASGIFramework, config: Config, shutdown: trio.Event, *, task_status: trio.TaskStatus[list[str]]
) -> None:
    await serve(_send_first(app), config, shutdown_trigger=shutdown.wait, task_status=task_status)


def _listen(host: str, port: int) -> socket.socket:
    """Bind; connections inherit from the listening socket that nobody may leave an answer unread.

    Hypercorn sends under a shield without a deadline: a client that stops reading would hold up the end of
    the service for ever. The kernel breaks such a connection off.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
    return listener


class _Config(Config):
    """Hypercorn's settings, with a socket that is bound already: it leaks its own where binding fails."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__()
        self._listener = listener

    def create_sockets(self) -> Sockets:
        return Sockets(secure_sockets=[], insecure_sockets=[self._listener], quic_sockets=[])


def _send_first(app: ASGIFramework) -> ASGIFramework:
    """Tell ``app`` of the end of a request only when its last send has returned.

    Hypercorn says ``http.disconnect`` from within the last send, before it starts the idle timer; Quart-Trio
    cancels the request on hearing it, and the timer with it: the connection would idle for ever, and hold up
    the end.
    """

    async def calmed(scope: Any, receive: Any, send: Any) -> None:
        sending = trio.Lock()

        async def calm_receive() -> Any:
            event = await receive()
            if event["type"] == "http.disconnect":
                async with sending:
                    return event
            return event

        async def calm_send(event: Any) -> None:
            async with sending:
                await send(event)

        await app(scope, calm_receive, calm_send)

    return calmed
