"""Listings for tests: read at one fixed time, and shown as JSON."""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo

from pooler.ftp.entries import Entry
from pooler.ftp.listing.parser import ListParser

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def read(*pieces: bytes, zone: tzinfo | None = None, now: datetime = NOW) -> tuple[ListParser, list[Entry]]:
    parser = ListParser(now, zone)
    entries = [entry for piece in pieces for entry in parser.feed(piece)]
    return parser, entries + parser.finish()


def as_json(parser: ListParser, entries: Iterable[Entry], charset: str = "utf-8") -> dict[str, object]:
    return {
        "dialect": parser.dialect.value if parser.dialect else None,
        "unread": parser.unread,
        "entries": [_entry_as_json(entry, charset) for entry in entries],
    }


def _entry_as_json(entry: Entry, charset: str) -> dict[str, object]:
    told = {
        "name": entry.name.decode(charset),
        "kind": entry.kind.value,
        "size": entry.size_bytes,
        "modified": entry.modified.isoformat() if entry.modified else None,
        "precision_s": entry.precision.total_seconds() if entry.precision else None,
        "target": entry.target.decode(charset) if entry.target is not None else None,
        "unique": entry.unique,
        "facts": dict(entry.facts) or None,
    }
    return {name: value for name, value in told.items() if value is not None}
