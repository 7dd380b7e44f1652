"""What an operator would ask the running service: its remotes, its counters, and to drain."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import trio
from prometheus_client.parser import text_string_to_metric_families

from pooler.app import Addresses
from pooler.demo.errors import DemoFailed

_REPLY_S = 10.0
_ENDS_S = 10.0


class Admin:
    """A client of the admin API and of the metrics.

    Args:
        addresses: where the service can be reached.
        token: for the API.
    """

    def __init__(self, addresses: Addresses, token: str) -> None:
        assert addresses.api is not None  # noqa: S101 - the demo's configuration has both
        assert addresses.metrics is not None  # noqa: S101
        self.api = addresses.api
        self.metrics = addresses.metrics
        self.token = token

    async def is_ready(self) -> bool:
        """Ask whether it takes jobs."""
        return bool(json.loads(await self._ask("GET", "status"))["ready"])

    async def remotes(self) -> list[dict[str, Any]]:
        """Ask for the state of each remote."""
        found: list[dict[str, Any]] = json.loads(await self._ask("GET", "remotes"))["remotes"]
        return found

    async def retried(self) -> int:
        """Ask how many attempts failed and were tried again."""
        text = (await _ask("GET", f"{self.metrics}/metrics", {})).decode()
        return sum(
            int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "pooler_retries_total"
        )

    async def drain(self) -> None:
        """Tell the service to finish what runs, and to end."""
        await self._ask("POST", "drain")

    async def _ask(self, method: str, path: str) -> bytes:
        return await _ask(method, f"{self.api}/v1/{path}", {"Authorization": f"Bearer {self.token}"})


class _Unanswered(DemoFailed):
    """Nobody answered."""


async def _ask(method: str, url: str, headers: Mapping[str, str]) -> bytes:
    """Send one request; return the body of its answer.

    Raises:
        DemoFailed: it was refused, or not answered and the caller not cancelled for a while after that.

    Cancellation: the request may have been obeyed.
    """
    try:
        return await trio.to_thread.run_sync(_request, method, url, headers, abandon_on_cancel=True)
    except _Unanswered:
        # A service that is told to end closes its API a moment before it is gone, and asking it ends with it.
        await trio.sleep(_ENDS_S)
        raise


def _request(method: str, url: str, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_REPLY_S)
    try:
        connection.request(method, parts.path, headers=dict(headers))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise _Unanswered(f"{method} {url}: {error!r}") from error
    finally:
        connection.close()
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - HTTP's
        raise DemoFailed(f"{method} {url}: {answer.status} {body.decode(errors='replace')}")
    return body
