"""A command's hand on the admin API: where it is, who asks, and what its refusals mean.

Any pod may be asked: it answers for all of them, and what it is told holds for all of them.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2
from cyclopts import Parameter

from pooler.cli import exits
from pooler.cli.text import plain
from pooler.config.problems import did_you_mean
from pooler.config.settings import ApiSettings
from pooler.errors import ConfigError, PoolerError
from pooler.version import version

_ANSWER_S: Final = 30.0
_FOR_GOOD: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_MAY_PASS: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

Document = dict[str, Any]
"""A JSON object, as the API's OpenAPI document describes it."""


class NotAnswered(PoolerError):
    """The API did not do what it was asked for.

    Args:
        message: why, for people.
        exit_code: of the command.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where the admin API is, and the token for it.

    Attributes:
        api: the address of any pod's admin API; otherwise POOLER_API, otherwise http://127.0.0.1:8080.
        token_file: a file with the token in it; otherwise POOLER_API_TOKEN_FILE, otherwise the token itself
            in POOLER_API_TOKEN.
    """

    api: str | None = None
    token_file: Path | None = None

    def address(self) -> str:
        """Tell where to ask."""
        return self.api or os.environ.get("POOLER_API") or f"http://127.0.0.1:{ApiSettings().port}"

    def token(self) -> str:
        """Read the token; empty where there is none.

        Raises:
            ConfigError: the file cannot be read, or holds no token.
        """
        named = os.environ.get("POOLER_API_TOKEN_FILE")
        path = self.token_file or (Path(named) if named else None)
        if path is None:
            return os.environ.get("POOLER_API_TOKEN", "").strip()
        try:
            token = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        if not token.isascii() or not token.isprintable() or not token:
            raise ConfigError(f"{path}: expected a token on one line")
        return token


ANY_POD = Where()
"""The pod behind the address that is set, or the one on this machine."""


class Api:
    """The admin API.

    Args:
        client: asks it.
        address: where it is, for messages.
    """

    def __init__(self, client: httpx2.AsyncClient, address: str) -> None:
        self._client = client
        self._address = address

    @property
    def address(self) -> str:
        """Where it is."""
        return self._address

    async def get(self, path: str, **query: str | int) -> Document:
        """Ask for something below ``/v1``.

        Raises:
            NotAnswered: there was no answer, or a refusal.
        """
        return await self._ask("GET", path, query)

    async def post(self, path: str, **query: str | int) -> Document:
        """Have something done; raises as ``get`` does."""
        return await self._ask("POST", path, query)

    async def steer(self, name: str, verb: str, **query: str | int) -> Document:
        """Do something about a remote.

        Raises:
            NotAnswered: as ``get``; a remote that is not there is told with the name most like it.
        """
        return await self._of(name, self.post, f"remotes/{quote(name, safe='')}/{verb}", **query)

    async def remote(self, name: str) -> Document:
        """Ask for all about a remote; raises as ``steer`` does."""
        return await self._of(name, self.get, f"remotes/{quote(name, safe='')}")

    async def _of(
        self, name: str, ask: Callable[..., Awaitable[Document]], path: str, **query: str | int
    ) -> Document:
        try:
            return await ask(path, **query)
        except _NotThere:
            known = [remote["name"] for remote in (await self.get("remotes"))["remotes"]]
            raise NotAnswered(f"{name}: no such remote{did_you_mean(name, known)}", exits.USAGE) from None

    async def _ask(self, method: str, path: str, query: dict[str, str | int]) -> Document:
        try:
            answer = await self._client.request(method, f"v1/{path}", params=query)
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise NotAnswered(f"{self._address}: no answer: {reason}", exits.TEMPORARY) from error
        if answer.is_success:
            return _object(answer, self._address)
        detail = _detail(answer)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise _NotThere(detail, exits.USAGE)
        raise NotAnswered(f"{self._address}: {answer.status_code} {detail}", _exit_code(answer.status_code))


class _NotThere(NotAnswered):
    """404."""


def _object(answer: httpx2.Response, address: str) -> Document:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotAnswered(f"{address}: this is not the admin API: it answers no JSON object", exits.OTHER)
    return found


def _detail(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def _exit_code(status: int) -> int:
    if status in _FOR_GOOD:
        return exits.JOBS_FAILED
    if status in _MAY_PASS:
        return exits.TEMPORARY
    return exits.USAGE if status == HTTPStatus.BAD_REQUEST else exits.OTHER


async def asking(where: Where, work: Callable[[Api], Awaitable[None]]) -> int:
    """Do the work of one command; give its exit code.

    Raises:
        ConfigError: the token cannot be read, or the address is none.
    """
    headers = {"User-Agent": f"pooler/{version()}"}
    if token := where.token():
        headers["Authorization"] = f"Bearer {token}"
    address = where.address().rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{address}: expected an address such as http://127.0.0.1:8080")
    try:
        # A proxy that the environment names is for the wide world: it would be shown our token.
        async with httpx2.AsyncClient(
            base_url=f"{address}/", headers=headers, timeout=_ANSWER_S, trust_env=False
        ) as client:
            await work(Api(client, address))
    except httpx2.InvalidURL as error:
        raise ConfigError(f"{address}: {error}") from error
    except NotAnswered as error:
        print(plain(str(error), sys.stderr.encoding), file=sys.stderr)
        return error.exit_code
    return exits.OK
