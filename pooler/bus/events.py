"""CloudEvents 1.0 in Kafka's binding: jobs that come as events, and answers that go out as such. Pure.

An event in binary mode has its data in the value and its attributes in headers, ``ce_id`` and the like; so
a job in it is a job as it stands. One in structured mode is a JSON object with the data in it. That is turned
into binary mode as soon as it is read, the data byte for byte: so it can be parked, spread and handed back
like any other.

What says that a record is an event is not handed on with the answer, which is another event, or none.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from pooler.model.job import Record

Headers = tuple[tuple[str, bytes], ...]
SPEC_VERSION: Final = "1.0"
STRUCTURED: Final = "application/cloudevents+json"
"""The content type of an event in structured mode."""
JSON: Final = "application/json"
CONTENT_TYPE: Final = "content-type"
PREFIX: Final = "ce_"
_VERSION: Final = f"{PREFIX}specversion"
_NEEDED: Final = ("specversion", "id", "source", "type")
_ID_LIMIT: Final = 1024
_ENVELOPE_BYTES: Final = 1_024
"""The most that an envelope adds, but for the names of job and group."""

Mode = Literal["off", "binary", "structured"]


class NoEvent(ValueError):
    """A record says that it is an event, and is none that can be read.

    Args:
        message: why, for the sender.
        name: what the event calls itself; None where it does not.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


def is_event(headers: Headers) -> bool:
    """Tell whether a record is an event in binary mode."""
    return any(name == _VERSION for name, _ in headers)


def content_type(headers: Headers) -> str:
    """Tell the media type of a value, in small letters, without its parameters; empty where nobody does."""
    for name, value in headers:
        if name.lower() == CONTENT_TYPE:
            return value.decode("utf-8", "replace").partition(";")[0].strip().lower()
    return ""


def opened(record: Record) -> Record:
    """Give a record as an event in binary mode where it is one in structured mode; any other as it is.

    Raises:
        NoEvent: it is an event, and cannot hold a job.
    """
    if not record.headers:
        return record
    if content_type(record.headers) == STRUCTURED:
        return _unfolded(record)
    if is_event(record.headers):
        attributes = {name[len(PREFIX) :]: value for name, value in record.headers if name.startswith(PREFIX)}
        told = {name: value.decode("utf-8", "replace") for name, value in attributes.items()}
        _check(told, content_type(record.headers), told.get("id"))
    return record


def _unfolded(record: Record) -> Record:
    try:
        fields = msgspec.json.decode(record.value or b"", type=dict[str, msgspec.Raw])
        told = {name: msgspec.json.decode(raw) for name, raw in fields.items() if name != "data"}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return record  # whoever reads jobs says what is wrong
    name = told.get("id")
    named = name if isinstance(name, str) else None
    media_type = told.pop("datacontenttype", None) or JSON
    _check(told, str(media_type).partition(";")[0].strip().lower(), named)
    packed = told.pop("data_base64", None)
    if "data" in fields:
        data = bytes(fields["data"])
    elif isinstance(packed, str):
        try:
            data = base64.b64decode(packed, validate=True)
        except binascii.Error:
            raise NoEvent("CloudEvents: data_base64 is no base64", named) from None
    else:
        raise NoEvent("CloudEvents: expected a job as data", named)
    kept = tuple(pair for pair in record.headers if pair[0].lower() != CONTENT_TYPE)
    attributes = tuple(
        (f"{PREFIX}{key}", _text(value).encode()) for key, value in told.items() if value is not None
    )
    return replace(record, value=data, headers=(*kept, *attributes, (CONTENT_TYPE, str(media_type).encode())))


def _text(value: object) -> str:
    """Write an attribute as the binding has it in a header."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _check(told: Mapping[str, object], media_type: str, name: str | None) -> None:
    missing = [one for one in _NEEDED if not told.get(one)]
    if missing:
        raise NoEvent(f"CloudEvents: expected {missing[0]}", name)
    if told["specversion"] != SPEC_VERSION:
        raise NoEvent(f"CloudEvents: expected specversion {SPEC_VERSION}, got {told['specversion']}", name)
    if media_type and media_type != JSON and not media_type.endswith("+json"):
        raise NoEvent(f"CloudEvents: expected data as {JSON}, got {media_type}", name)


def name_of(headers: Headers) -> str | None:
    """Tell what an event calls itself: the name of a job that has none; None where there is no event."""
    if not is_event(headers):
        return None
    name = next((value for key, value in headers if key == f"{PREFIX}id"), b"").decode("utf-8", "replace")
    return name if 0 < len(name) <= _ID_LIMIT else None


def plain(headers: Headers) -> Headers:
    """Give headers without what says that their record is an event."""
    if not (is_event(headers) or content_type(headers) == STRUCTURED):
        return headers
    return tuple(
        (name, value)
        for name, value in headers
        if not name.startswith(PREFIX) and name.lower() != CONTENT_TYPE
    )


def data_of(record: Record) -> bytes:
    """Give the data of an answer, in whichever mode it was written; empty where it cannot be read."""
    try:
        return opened(record).value or b""
    except NoEvent:
        return b""


@dataclass(frozen=True, slots=True)
class Events:
    """Makes events of answers.

    Attributes:
        mode: ``off`` to leave them as they are.
        group: the consumer group, which is their source.
    """

    mode: Mode = "off"
    group: str = ""

    def overhead_bytes(self, task_id: str) -> int:
        """Tell how much larger than the answer an event may be at most."""
        if self.mode == "off":
            return 0
        return _ENVELOPE_BYTES + len(msgspec.json.encode(task_id)) + len(self._source)

    @property
    def _source(self) -> str:
        return f"/pooler/{quote(self.group, safe='')}"

    def wrap(
        self, value: bytes, headers: Headers, *, of: Record, told: Mapping[str, Any]
    ) -> tuple[bytes, Headers]:
        """Make an event of an answer.

        Args:
            value: of the answer.
            headers: of the answer.
            of: the record that it answers: its place and time make the event's id, so that an answer that is
                written twice is one event.
            told: the answer's fields.

        Returns:
            The value and the headers of the event.
        """
        if self.mode == "off":
            return value, headers
        attributes = {
            "specversion": SPEC_VERSION,
            "id": f"{of.origin}-{max(0, of.timestamp_ms):x}",
            "source": self._source,
            "type": f"pooler.job.{told['status']}",
            "subject": told["task_id"],
            "time": told["timestamp"],
        }
        if self.mode == "binary":
            own = tuple((f"{PREFIX}{name}", text.encode()) for name, text in attributes.items())
            return value, (*headers, *own, (CONTENT_TYPE, JSON.encode()))
        folded = msgspec.json.encode({**attributes, "datacontenttype": JSON, "data": msgspec.Raw(value)})
        return folded, (*headers, (CONTENT_TYPE, f"{STRUCTURED}; charset=UTF-8".encode()))


NO_EVENTS: Final = Events()
"""Answers as they are."""
