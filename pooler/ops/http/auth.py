"""Who may do what over the admin API.

A caller shows a bearer token (RFC 6750). Of each token the service knows only the SHA-256, from a file of
lines ``scope:sha256hex`` or ``scope:sha256hex:name``; blank lines and those that begin with ``#`` are passed
over. A token must be long and random, as a plain hash protects no other::

    token=$(openssl rand -hex 32)
    printf %s "$token" | sha256sum | sed 's/^/operate:/; s/ .*/:alice/' >> tokens

Without any token configured only callers on loopback may read and act: a shell in the pod, ``kubectl
port-forward``. What a proxy sends does not count as loopback, as anybody may stand behind it. What a browser
sends may read, where it was told to look on loopback, and not act: any page may stand behind it.
"""

import enum
import hashlib
import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
import trio
from quart import Request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from pooler.errors import ConfigError
from pooler.ops.http.ledger import AuditLedger

log = structlog.get_logger()

MAX_FAILURES: Final = 10
"""Wrong tokens that an address may show within a minute."""

_WINDOW_S: Final = 60.0
_MAX_ADDRESSES: Final = 1024
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP")
_NOT_LOCAL_HEADERS: Final = ("Origin", "Sec-Fetch-Site", *_PROXY_HEADERS)


class Scope(enum.IntEnum):
    """What a token allows; each includes the ones before it."""

    READ = 1
    """See the state of the service."""
    OPERATE = 2
    """Pause and resume remotes: what can be undone."""
    ADMIN = 3
    """Drain the pod."""


@dataclass(frozen=True, slots=True)
class Token:
    """One line of the token file.

    Attributes:
        scope: what it allows.
        sha256: of the token's UTF-8, in lower-case hexadecimal.
        name: whose it is, for the log.
    """

    scope: Scope
    sha256: str
    name: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: the token's name; ``anonymous`` without one.
        address: the peer's address.
        ledger: where it is noted what they have done.
    """

    name: str
    address: str
    ledger: AuditLedger = field(default_factory=AuditLedger, repr=False, compare=False)


def parse_tokens(text: str, source: str) -> tuple[Token, ...]:
    """Read the text of a token file.

    Args:
        text: the file's text.
        source: the file's name, for messages.

    Raises:
        ConfigError: with every line that is wrong; hashes are not repeated.
    """
    tokens: list[Token] = []
    problems: list[str] = []
    for number, raw_line in enumerate(text.splitlines(), 1):
        line = raw_line.strip()
        if not line or line.startswith("#"):
            continue
        scope, _, rest = line.partition(":")
        sha256, _, name = rest.partition(":")
        if scope.upper() not in Scope.__members__:
            problems.append(f"{source}:{number}: expected a scope (read, operate or admin) before a colon")
        elif not _SHA256.fullmatch(sha256.lower()):
            problems.append(f"{source}:{number}: expected a SHA-256 of 64 hexadecimal digits after the scope")
        else:
            tokens.append(Token(Scope[scope.upper()], sha256.lower(), name or sha256[:8].lower()))
    if problems:
        raise ConfigError(*problems)
    return tuple(tokens)


def load_tokens(path: Path) -> tuple[Token, ...]:
    """Read a token file, once, at start.

    Raises:
        ConfigError: it cannot be read, has a line that is wrong, or has no token: an empty file is more
            likely a mistake than the wish to open the API to everybody.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    tokens = parse_tokens(text, str(path))
    if not tokens:
        raise ConfigError(f"{path}: expected at least one token")
    return tokens


class FailureTable:
    """Counts wrong tokens by address, in bounded memory.

    An IPv6 caller counts by its /64, as it has all of those addresses. When the table is full the oldest
    entry goes: tokens are too long to be guessed from any number of addresses.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def failed(self, address: str) -> None:
        """Count a wrong token."""
        key = _network(address)
        ends, count = self._failures.get(key, (0.0, 0))
        if self._clock() >= ends:
            self._failures.pop(key, None)
            ends, count = self._clock() + _WINDOW_S, 0
        self._failures[key] = (ends, count + 1)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def blocked_s(self, address: str) -> float:
        """Tell for how many seconds no token of this address is looked at; 0 if it is."""
        ends, count = self._failures.get(_network(address), (0.0, 0))
        return max(0.0, ends - self._clock()) if count >= MAX_FAILURES else 0.0


class Guard:
    """Lets requests pass, or not.

    Args:
        tokens: those that are configured; empty where none are.
        clock: seconds, for counting failures.
        ledger: where it is noted what was done, and refused; None for a new one.

    Attributes:
        tokens: those that are configured; others may be set at any time.
        ledger: what was done, and refused.
    """

    def __init__(
        self,
        tokens: tuple[Token, ...],
        clock: Callable[[], float] = trio.current_time,
        ledger: AuditLedger | None = None,
    ) -> None:
        self.tokens = tokens
        self.ledger = AuditLedger() if ledger is None else ledger
        self._failures = FailureTable(clock)

    def admit(self, request: Request, scope: Scope) -> Caller:
        """Tell who sent ``request``, if they may do what needs ``scope``.

        Raises:
            Unauthorized: a token is needed, and there is none or a wrong one (401).
            Forbidden: the token does not allow it, or none is configured and the caller is elsewhere (403).
            TooManyRequests: this address has shown too many wrong tokens (429).
        """
        client = request.scope.get("client")
        # From the connection itself, whatever the headers say.
        address = str(client[0]) if client else ""
        if not self.tokens:
            if not (_may_read(address, request) if scope is Scope.READ else _is_local(address, request)):
                does = "read" if scope is Scope.READ else "act"
                raise self._refused(
                    request,
                    address,
                    Forbidden(f"No tokens are configured: only callers on loopback may {does}."),
                )
            return Caller("anonymous", address, self.ledger)
        token = self._token_of(request, address)
        if token.scope < scope:
            raise self._refused(
                request,
                address,
                Forbidden(f"This token does not allow it: scope {scope.name.lower()} does."),
                token.name,
            )
        return Caller(token.name, address, self.ledger)

    def _token_of(self, request: Request, address: str) -> Token:
        kind, _, presented = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not presented.strip():
            raise Unauthorized(
                "A bearer token is needed.", www_authenticate=WWWAuthenticate("bearer", {"realm": "pooler"})
            )
        blocked_s = self._failures.blocked_s(address)
        if blocked_s:
            raise TooManyRequests("Too many wrong tokens from this address.", retry_after=int(blocked_s) + 1)
        digest = hashlib.sha256(presented.strip().encode()).hexdigest()
        found: Token | None = None
        for token in self.tokens:
            # Every one is compared, in constant time: how long it takes tells nothing of which matched.
            if hmac.compare_digest(token.sha256, digest):
                found = token
        if found is None:
            self._failures.failed(address)
            raise self._refused(
                request,
                address,
                Unauthorized(
                    "This token is not known.",
                    www_authenticate=WWWAuthenticate("bearer", {"realm": "pooler", "error": "invalid_token"}),
                ),
            )
        return found

    def _refused(
        self, request: Request, address: str, error: Forbidden | Unauthorized, by: str = "anonymous"
    ) -> Forbidden | Unauthorized:
        about = {"method": request.method, "path": request.path, "status": error.code}
        log.warning("api_refused", address=address, **about)
        self.ledger.note("refused", by, address, about)
        return error


def _is_local(address: str, request: Request) -> bool:
    if any(name in request.headers for name in _NOT_LOCAL_HEADERS):
        return False
    return _is_loopback(address)


def _may_read(address: str, request: Request) -> bool:
    """Tell whether it comes from loopback and was sent there by name.

    A page of another site cannot read what we answer, unless its own name leads to loopback too: then its
    browser says that name as the host.
    """
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    host = urlsplit(f"//{request.host}").hostname or ""
    return _is_loopback(address) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        parsed = _parsed(address)
    except ValueError:
        return False
    return parsed.is_loopback


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _network(address: str) -> str:
    try:
        parsed = _parsed(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)
