"""Commands that ask the admin API, over a real socket."""

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio
from hypercorn.typing import ASGIFramework
from structlog.testing import capture_logs

from pooler.cli import main
from pooler.ops.http.app import create_app
from pooler.ops.http.auth import Scope, Token
from pooler.ops.http.server import serve_http
from tests.support.command import Command
from tests.support.service_double import ServiceDouble

TOKENS = tuple(
    Token(scope, hashlib.sha256(scope.name.lower().encode()).hexdigest(), f"{scope.name.lower()}-name")
    for scope in (Scope.READ, Scope.OPERATE)
)


@pytest.fixture
def service() -> ServiceDouble:
    return ServiceDouble()


@pytest.fixture
async def command(
    service: ServiceDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Command]:
    """Run a command against the API of the service, with a token that may operate."""
    for name in ("POOLER_API", "POOLER_API_TOKEN", "POOLER_API_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("operate\n")
    shutdown = trio.Event()

    async def serve(app: ASGIFramework, *, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        await serve_http(app, "127.0.0.1", 0, shutdown=shutdown, task_status=task_status)

    # The service's log is not the command's output.
    with capture_logs():
        async with trio.open_nursery() as nursery:
            host, port = await nursery.start(serve, create_app(service, TOKENS))

            async def run(*words: str, token: str | None = str(tmp_path / "token")) -> tuple[int, str, str]:
                options = ["--api", f"http://{host}:{port}"]
                if token is not None:
                    options += ["--token-file", token]
                code = await trio.to_thread.run_sync(partial(main.main, [*words, *options]))
                return code, *capsys.readouterr()

            yield run
            shutdown.set()
