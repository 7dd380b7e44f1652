"""What tests of the admin API share: an application on a port, its tokens, and its log."""

import hashlib
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from queue import Queue
from threading import Thread
from typing import Self

import structlog
import trio
from hypercorn.typing import ASGIFramework

from pooler.ops import logs
from pooler.ops.http.app import create_app
from pooler.ops.http.auth import Scope, Token
from pooler.ops.http.server import serve_http
from tests.support.http_client import Address, Answer
from tests.support.service_double import ServiceDouble

TOKENS = tuple(
    Token(
        scope,
        hashlib.sha256(f"{scope.name.lower()}-token".encode()).hexdigest(),
        f"{scope.name.lower()}-name",
    )
    for scope in Scope
)


def bearer(name: str) -> dict[str, str]:
    """Make the header of a caller with the scope of that name."""
    return {"Authorization": f"Bearer {name}-token"}


@asynccontextmanager
async def serving(app: ASGIFramework, *, within_s: float = 30) -> AsyncIterator[tuple[Address, trio.Event]]:
    """Serve an application, for so long at most; gives its address, and what ends it."""
    shutdown = trio.Event()
    with trio.fail_after(within_s):
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[Address]) -> None:
                await serve_http(app, "127.0.0.1", 0, shutdown=shutdown, task_status=task_status)

            yield await nursery.start(serve), shutdown
            shutdown.set()


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Have the log as JSON lines."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure("INFO", "json", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def assert_problem(answer: Answer, status: int, path: str) -> None:
    """Assert that an answer is a problem (RFC 9457), of that request."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert set(problem) == {"type", "title", "status", "detail", "instance"}
    assert problem["status"] == status
    assert problem["instance"] == path
    assert problem["detail"]


class Served:
    """The API of a double, served from a thread of its own.

    Attributes:
        service: the double.
        url: of the page.

    Args:
        service: the double.
        tokens: of those who may ask.
        beside: what goes on meanwhile, in the same thread.
    """

    def __init__(
        self,
        service: ServiceDouble,
        tokens: tuple[Token, ...] = TOKENS,
        beside: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
    ) -> None:
        self.service = service
        self._beside = beside
        self._tokens = tokens
        self._told: Queue[str] = Queue()
        self._stop = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = Thread(target=trio.run, args=(self._serve,))

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with serving(create_app(self.service, self._tokens, self._stop), within_s=300) as (
            (host, port),
            _,
        ):
            self._told.put(f"http://{host}:{port}/")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._beside)
                await self._stop.wait()
                nursery.cancel_scope.cancel()

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = self._told.get(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()
