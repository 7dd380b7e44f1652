"""``pooler dlq``: records that were no JSON object: seen, and submitted anew once they can be read."""

import datetime as dt
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import trio
from cyclopts import App, Parameter
from rich.table import Table

from pooler.bus.records import Undecodable, decode
from pooler.bus.submit import Letter, submit
from pooler.bus.survey import survey
from pooler.cli import exits
from pooler.cli.admin import view
from pooler.cli.admin.view import Output
from pooler.cli.jobs.choice import RETRY_HEADER, since
from pooler.cli.options import HERE, Files
from pooler.cli.text import plain
from pooler.config.settings import KafkaSettings
from pooler.model.job import Origin, Record
from pooler.ops import logs

app = App(name="dlq")

_CONNECT = "__connect.errors."
_ADDED = re.compile(r"__connect\.errors\.|pooler\.value\.sha256$")
_SHOWN = 60


@dataclass(slots=True)
class _Letters:
    """Dead letters, as far as they are asked for.

    Attributes:
        most: more than so many are too many.
        contains: what the error says, among other things.
        found: the records.
    """

    most: int
    contains: str
    found: list[Record] = field(default_factory=list)

    def take(self, records: Sequence[Record]) -> bool:
        self.found += [record for record in records if self.contains in _error(record)]
        return len(self.found) <= self.most


@app.command(name="ls")
async def list_letters(
    *,
    since_: Annotated[str | None, Parameter(name="--since")] = None,
    error: str = "",
    limit: int = 1_000,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """List dead letters, those of a partition in their order.

    Exits with 0, 2 for a time that cannot be meant or where there are more than the limit, 7 where the
    brokers cannot be reached.

    Args:
        since_: those not older than that: such as 2h, 30m or 2026-11-30T09:00.
        error: those whose error has these words.
        limit: not more than so many.
        output: ``json`` for an array of objects.
        files: where the configuration stands.
    """
    letters = await _read(files.load().settings.kafka, since_, error, limit)
    if letters is None:
        return exits.USAGE
    if output == "json":
        view.print_json([_described(record) for record in letters])
        return exits.OK
    drawn = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for title in ("PLACE", "WRITTEN", "CAME FROM", "BYTES", "ERROR", "VALUE"):
        drawn.add_column(title, justify="right" if title == "BYTES" else "left", no_wrap=True)
    for record in letters:
        about = _described(record)
        row = (about["place"], about["written"], about["came_from"], str(about["bytes"]), about["error"])
        drawn.add_row(*(plain(str(word), sys.stdout.encoding) for word in (*row, about["value"])))
    view.console().print(drawn)
    return exits.OK


@app.command
async def replay(
    *,
    since_: Annotated[str | None, Parameter(name="--since")] = None,
    error: str = "",
    limit: int = 100_000,
    rate: float | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """Submit dead letters anew, byte for byte, with the headers that they had.

    Counts them first. One that was submitted anew already is left out, and so is one that would be no JSON
    object again. Exits as ``ls`` does.

    Args:
        since_: those not older than that: such as 2h, 30m or 2026-11-30T09:00.
        error: those whose error has these words.
        limit: not at all where there are more than that.
        rate: so many a second at most.
        all_: those too that would be no JSON object again.
        dry_run: count, and submit nothing.
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    kafka = files.load().settings.kafka
    letters = await _read(kafka, since_, error, limit)
    if letters is None:
        return exits.USAGE
    chosen, left_out = _sorted_out(letters, all_=all_)
    if chosen:
        earliest_ms = min(record.timestamp_ms for record in chosen.values())
        submitted = partial(_pass_over, chosen, left_out)
        await survey(kafka, kafka.job_topics, submitted, since_ms=max(0, earliest_ms))
    size_bytes = sum(len(record.value or b"") for record in chosen.values())
    about = {"letters": len(chosen), "bytes": size_bytes, "left_out": dict(left_out)}
    if output == "json":
        view.print_json(about)
    else:
        print(f"{len(chosen)} dead letters, {size_bytes} bytes")
        for why, count in left_out.items():
            print(f"{count} left out: {why}")
    if chosen and not dry_run:
        count = await submit(kafka, _letters(chosen), per_s=rate)
        print(f"submitted {count} records to {kafka.input_topic}", file=sys.stderr)
    await trio.lowlevel.checkpoint()
    return exits.OK


def _sorted_out(letters: Sequence[Record], *, all_: bool) -> tuple[dict[str, Record], Counter[str]]:
    """Choose those that are worth it; tell why others are not, and how many."""
    left_out: Counter[str] = Counter()
    chosen: dict[str, Record] = {}
    for record in letters:
        if record.value is None:
            left_out["their value is not there"] += 1
        elif isinstance(decode(record), Undecodable) and not all_:
            left_out["they would be no JSON object again"] += 1
        else:
            chosen[str(record.origin)] = record
    return chosen, left_out


def _pass_over(chosen: dict[str, Record], left_out: Counter[str], records: Sequence[Record]) -> bool:
    """Leave out what was submitted anew already, by the records that jobs are read from."""
    for record in records:
        repeats = dict(record.headers).get(RETRY_HEADER, b"").decode("utf-8", "replace")
        if chosen.pop(repeats, None) is not None:
            left_out["they were submitted anew already"] += 1
    return bool(chosen)


async def _read(kafka: KafkaSettings, since_: str | None, error: str, limit: int) -> list[Record] | None:
    logs.configure("WARNING", "console", sys.stderr)
    letters = _Letters(limit, error)
    try:
        since_ms = None if since_ is None else since(since_, dt.datetime.now(dt.UTC))
    except ValueError as mistake:
        print(mistake, file=sys.stderr)
        return None
    await survey(kafka, [kafka.dlq_topic], letters.take, since_ms=since_ms)
    if len(letters.found) > limit:
        print(f"more than {limit} dead letters: narrow it, or raise --limit", file=sys.stderr)
        return None
    return letters.found


def _letters(chosen: dict[str, Record]) -> Iterator[Letter]:
    for where, record in chosen.items():
        own = tuple(pair for pair in record.headers if not _ADDED.match(pair[0]) and pair[0] != RETRY_HEADER)
        yield Letter(record.key, record.value or b"", (*own, (RETRY_HEADER, where.encode())))


def _error(record: Record) -> str:
    said = dict(record.headers)
    name = said.get(f"{_CONNECT}exception.class.name", b"").decode("utf-8", "replace")
    return f"{name}: {said.get(f'{_CONNECT}exception.message', b'').decode('utf-8', 'replace')}"


def _described(record: Record) -> dict[str, Any]:
    said = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    parts = [said.get(f"{_CONNECT}{part}", "?") for part in ("topic", "partition", "offset")]
    value = (record.value or b"").decode("utf-8", "backslashreplace")
    written = dt.datetime.fromtimestamp(record.timestamp_ms / 1000, dt.UTC)
    return {
        "place": str(Origin(*record.origin)),
        "written": written.isoformat(timespec="seconds"),
        "came_from": "-".join(parts),
        "bytes": len(record.value or b""),
        "error": _error(record),
        "value": value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…",
    }
