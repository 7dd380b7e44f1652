"""Log lines: structlog, as JSON for machines or in colour for people, one pipeline for all of them.

An event is a constant in snake case, such as ``transfer_completed``; what varies stands in fields. Fields
bound with ``structlog.contextvars`` inside a task (remote, job, attempt) are on each of its lines. On the way
out a line is

1. cleared of secrets: by the names of its fields, and by what passwords look like inside text;
2. counted: of warnings and worse, the same event of the same remote is written a limited number of times a
   minute, and then told once with how often it was held back. One line a job, at info, is never held back.

What libraries log through the standard library, from WARNING up, goes the same way as the event
``library_message``.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

REPEATS_PER_MINUTE: Final = 30
"""How often a minute the same trouble of the same remote is written."""

_WINDOW_S: Final = 60.0
_MAX_WINDOWS: Final = 1024
_MAX_DEPTH: Final = 8
_MASK: Final = "***"

LEVELS: Final = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
FORMATS: Final = ("json", "console")

_SECRET_KEY: Final = re.compile(
    r"(?:^|[_\-. ])(?:pass|passwd|password|passphrase|token|secret|authorization|credentials?|cookie"
    r"|api_?key|private_?key)s?(?:$|[_\-. ])",
    re.IGNORECASE,
)
# The argument of PASS and ACCT may hold blanks, so all up to the line's end goes, but for one masked before.
_COMMAND: Final = re.compile(r"\b(PASS|ACCT)[ \t]+(?!\*{3,}(?:[\s:]|$))[^\r\n]+")
_USERINFO: Final = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.\-]*://)(?:([^\s/?#@:]*):)?[^\s/?#]*@")
_BEARER: Final = re.compile(r"\b(bearer|basic)[ \t]+[A-Za-z0-9+/=._~\-]{8,}", re.IGNORECASE)
_ASSIGNMENT: Final = re.compile(
    r"(?<![a-z])(pass|passwd|password|passphrase|token|secret)=(?:'[^']*'|\"[^\"]*\"|[^\s,;)&]+)",
    re.IGNORECASE,
)
# Without any of these there is nothing to mask; most texts are such, and there is a line for each job.
_HINT: Final = re.compile(r"PASS|ACCT|://|bearer|basic|=", re.IGNORECASE)


def configure(
    level: str,
    format: str,  # noqa: A002 - the setting's own name
    stream: TextIO,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Set up logging for the whole process; the last call counts.

    Args:
        level: the least that is written: DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case.
        format: ``json`` or ``console``.
        stream: where lines go; the service gives standard error, as data belongs on standard output.
        clock: seconds, for counting repeats.

    Raises:
        ValueError: no such level or format.
    """
    number = LEVELS.get(level.upper())
    if number is None:
        raise ValueError(f"no log level {level!r}: one of {', '.join(LEVELS)}")
    if format not in FORMATS:
        raise ValueError(f"no log format {format!r}: one of {', '.join(FORMATS)}")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            # Plain text: the richer tracebacks show local variables, passwords among them.
            structlog.processors.format_exc_info,
            redact,
            _RepeatLimit(_console(stream) if format == "console" else _json, clock),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(logging.WARNING))
    root.setLevel(logging.WARNING)


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Mask what is secret in a line, whatever put it there.

    A field called after a secret (``password``, ``sasl_plain_password``, ``token``…) loses its value. Inside
    text go the arguments of PASS and ACCT, passwords in URLs, bearer and basic credentials, and
    ``password=…``. A value that JSON does not know is written as its ``repr``, and treated likewise.
    """
    return {
        key: _MASK if is_secret_name(key) and value is not None else _clean(value, _MAX_DEPTH)
        for key, value in event_dict.items()
    }


@lru_cache(maxsize=1024)
def is_secret_name(key: str) -> bool:
    """Tell whether a field is called after a secret."""
    return _SECRET_KEY.search(key) is not None


def _clean(value: object, depth: int) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return masked_text(value)
        case Mapping() if depth:
            return {
                str(key): _MASK if is_secret_name(str(key)) else _clean(item, depth - 1)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth:
            return [_clean(item, depth - 1) for item in value]
        case BaseException():
            return masked_text(f"{type(value).__name__}: {value}")
        case _:
            return masked_text(repr(value))


def masked_text(text: str) -> str:
    """Mask what passwords look like in text."""
    if _HINT.search(text) is None:
        return text
    text = _COMMAND.sub(rf"\1 {_MASK}", text)
    text = _USERINFO.sub(lambda m: f"{m[1]}{m[2] + ':' if m[2] else ''}{_MASK}@", text)
    text = _BEARER.sub(rf"\1 {_MASK}", text)
    return _ASSIGNMENT.sub(rf"\1={_MASK}", text)


def _json(event_dict: EventDict) -> str:
    first = {key: event_dict.pop(key) for key in ("time", "level", "event")}
    return json.dumps({**first, **event_dict})


def _console(stream: TextIO) -> Callable[[EventDict], str]:
    render = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        exception_formatter=structlog.dev.plain_traceback,
        timestamp_key="time",
    )
    return lambda event_dict: render(None, "", event_dict)


@dataclass(slots=True)
class _Window:
    """One minute of one event of one remote."""

    ends: float
    written: int = 0
    held_back: int = 0


class _RepeatLimit:
    """The last processor: decides whether a line is written, and renders it.

    A window that held lines back is told of together with the first line after its end, whichever that is:
    a processor cannot speak on its own, and a service that is silent has nothing to repeat.

    Args:
        render: makes the text of one line.
        clock: seconds.
    """

    def __init__(self, render: Callable[[EventDict], str], clock: Callable[[], float]) -> None:
        self._render = render
        self._clock = clock
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def __call__(self, _logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
        now = self._clock()
        lines = self._ended(now, event_dict)
        if self._counts(event_dict) and self._is_too_often(event_dict, now):
            if not lines:
                raise structlog.DropEvent
        else:
            lines.append(event_dict)
        return "\n".join(self._render(line) for line in lines)

    @staticmethod
    def _counts(event_dict: Mapping[str, Any]) -> bool:
        return LEVELS[str(event_dict["level"]).upper()] >= logging.WARNING

    def _is_too_often(self, event_dict: Mapping[str, Any], now: float) -> bool:
        key = (
            str(event_dict["event"]),
            str(event_dict.get("remote", "")),
            str(event_dict.get("logger", "")),
        )
        if key not in self._windows and len(self._windows) >= _MAX_WINDOWS:
            # Not one more name to remember: those that come now share a window.
            key = ("", "", "")
        window = self._windows.setdefault(key, _Window(now + _WINDOW_S))
        if window.written < REPEATS_PER_MINUTE:
            window.written += 1
            return False
        window.held_back += 1
        return True

    def _ended(self, now: float, event_dict: Mapping[str, Any]) -> list[EventDict]:
        """Forget the windows that are over; tell of those that held lines back."""
        # In order of their beginnings, and all of one length: the first that still runs ends the search.
        lines: list[EventDict] = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.ends > now:
                break
            del self._windows[key]
            if window.held_back:
                event, remote, logger = key
                line: dict[str, Any] = {
                    "time": event_dict["time"],
                    "level": "warning",
                    "event": "repeated",
                    "repeated_event": event or "others",
                    "held_back": window.held_back,
                }
                line |= {name: value for name, value in (("remote", remote), ("logger", logger)) if value}
                lines.append(line)
        return lines


class _LibraryHandler(logging.Handler):
    """Hands the standard library's records to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library_message",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )
