"""``pooler job tail``: answers as they are written."""

import datetime as dt
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Parameter

from pooler.bus.events import data_of
from pooler.bus.survey import survey
from pooler.cli import exits
from pooler.cli.admin.view import Output
from pooler.cli.jobs.choice import since
from pooler.cli.options import HERE, Files
from pooler.cli.signals import end_at_signal
from pooler.cli.text import plain
from pooler.model.job import Record
from pooler.ops import logs


async def tail(
    *,
    remote: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    failed: Annotated[bool, Parameter(negative="")] = False,
    since_: Annotated[str | None, Parameter(name="--since")] = None,
    follow: bool = True,
    count: int | None = None,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """Show answers as they are written, one a line, from now on.

    Exits with 0 where it ends by --count or --no-follow, 130 at SIGINT, 2 for a time that cannot be meant, 7
    where the brokers cannot be reached.

    Args:
        remote: of jobs that come from there or go there; may be repeated.
        failed: of jobs that failed.
        since_: from then on: such as 2h, 30m or 2026-11-30T09:00.
        follow: go on with what is written later.
        count: end after so many.
        output: ``json`` for the answers as they stand, one a line.
        files: where the configuration stands.
    """
    kafka = files.load().settings.kafka
    logs.configure("ERROR", "console", sys.stderr)
    try:
        since_ms = None if since_ is None else since(since_, dt.datetime.now(dt.UTC))
    except ValueError as error:
        print(error, file=sys.stderr)
        return exits.USAGE
    left = [count]

    def take(records: Sequence[Record]) -> bool:
        for record in records:
            answer = _decoded(record)
            if remote and not {answer.get("src_id"), answer.get("dst_id")} & set(remote):
                continue
            print(_raw(record) if output == "json" else _line(answer), flush=True)
            if left[0] is not None:
                left[0] -= 1
                if left[0] <= 0:
                    return False
        return True

    topics = [kafka.fail_topic] if failed else [kafka.result_topic, kafka.fail_topic]
    code = exits.INTERRUPTED
    async with trio.open_nursery() as nursery:
        await nursery.start(end_at_signal, nursery.cancel_scope)
        await survey(kafka, topics, take, since_ms=since_ms, follow=follow)
        code = exits.OK
        nursery.cancel_scope.cancel()
    return code


def _decoded(record: Record) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data_of(record))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _raw(record: Record) -> str:
    return data_of(record).decode("utf-8", "replace")


def _line(answer: dict[str, Any]) -> str:
    source = f"{answer.get('src_id')}:{answer.get('src_path')}"
    destination = f"{answer.get('dst_id')}:{answer.get('dst_path')}"
    words = f"{answer.get('timestamp', '-')}  {answer.get('status', '?'):<7}  {source} → {destination}"
    batch = answer.get("batch")
    if batch:
        words += f"  {batch['files']} files, {batch['failed']} failed"
    elif answer.get("status") != "failed":
        words += f"  {answer.get('bytes_transferred')} bytes"
    if answer.get("error_code"):
        words += f"  {answer['error_code']}: {answer.get('error_message')}"
    return plain(f"{words}  [{answer.get('task_id')}]", sys.stdout.encoding)
