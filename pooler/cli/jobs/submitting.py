"""``pooler job submit``: jobs to the topic; those of many files as they are, or spread here."""

import json
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any, BinaryIO, Self

import msgspec
import trio
from cyclopts import Parameter
from msgspec.structs import replace

from pooler.bus import records
from pooler.bus.jobfile import lines, open_list
from pooler.bus.letterbox import open_letterbox
from pooler.bus.submit import submit as write
from pooler.cli import exits
from pooler.cli.admin.view import Output
from pooler.cli.ftp.hand import FOR_GOOD
from pooler.cli.jobs.sizes import MOST, sizes
from pooler.cli.jobs.spreading import Made
from pooler.cli.jobs.spreading import spread as spread_here
from pooler.cli.options import HERE, Files
from pooler.cli.signals import end_at_signal
from pooler.cli.text import plain
from pooler.config import Configuration
from pooler.config.remotes import Connections, LocalFolder
from pooler.errors import BusError, PoolerError
from pooler.model.job import Job, Origin, Record
from pooler.ops import logs
from pooler.transfer.plan import plan

_AT_ONCE = 500
"""Records of one call to the brokers."""
Post = Callable[[Sequence[tuple[bytes | None, bytes]]], Awaitable[None]]
"""Writes records to the topic; raises BusError."""


async def submit(
    jobs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    destination: str | None = None,
    /,
    *,
    spread: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    urgent: Annotated[bool, Parameter(negative="")] = False,
    options: str | None = None,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """Write jobs to the input topic, or the priority topic: a list, one JSON object a line, or a single job.

    The record's key is the remote's name, so that one remote's jobs stay in one partition. A line that is no
    valid job is named on the standard error and not submitted; the others are.

    A job of many files, whose source ends in ``/`` or has ``*`` or ``?`` in its last part, is submitted as it
    is, and the service spreads it, with one closing answer; or with ``--spread`` its folder is listed here,
    and a job for each file submitted, without one.

    Exits with 0 where all was submitted, 1 where a line was not, 2 where the command line cannot be meant; 5
    or 6 where a folder could not be listed, which may pass or not; 7 where the brokers cannot be reached.

    Args:
        jobs: a file, or ``-`` for the standard input; or REMOTE:PATH, what is to be copied.
        destination: REMOTE:PATH, where that is to be.
        spread: list the folders of jobs of many files here.
        dry_run: list all files that are meant, count them and their bytes, and submit nothing.
        urgent: write them to the priority topic, for them to overtake the others.
        options: of the one job, as a JSON object: ``{"after": "delete"}``.
        output: ``json`` for one object; with ``--dry-run`` one a line for each file before it.
        files: where the configuration stands.
    """
    configuration = files.load()
    kafka = configuration.settings.kafka
    topic = kafka.priority_topic if urgent else kafka.input_topic
    if not topic:
        print("--urgent: there is no priority topic: expected one as kafka.priority_topic", file=sys.stderr)
        return exits.USAGE
    logs.configure("WARNING", "console", sys.stderr)
    try:
        found = _list(jobs, options) if destination is None else _One(jobs, destination, options)
    except ValueError as error:
        print(plain(str(error), sys.stderr.encoding), file=sys.stderr)
        return exits.USAGE
    told = _Told(topic=None if dry_run else topic, json=output == "json")
    with found:
        if not (spread or dry_run):
            told.jobs = await write(kafka, _checked(found, configuration.connections, told), topic)
            await trio.lowlevel.checkpoint()
            told.finish()
            return told.code
        return await _spread_here(configuration, found, told)


def _list(name: str, options: str | None) -> "_List":
    if options is not None:
        raise ValueError("--options: expected SOURCE DESTINATION; the jobs of a list have their own")
    try:
        return _List(name, open_list(name))
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from None


class _List:
    """The lines of a list.

    Args:
        name: of it.
        stream: it.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[bytes]:
        return lines(self._stream)


class _One:
    """The job that two words on the command line are.

    Args:
        source: REMOTE:PATH.
        destination: REMOTE:PATH.
        options: a JSON object; None for none.

    Raises:
        ValueError: they are no job.
    """

    def __init__(self, source: str, destination: str, options: str | None) -> None:
        self.name = source
        ends: dict[str, str] = {}
        for prefix, word in (("src", source), ("dst", destination)):
            remote, colon, path = word.partition(":")
            if not (remote and colon and path):
                raise ValueError(f"{word}: expected REMOTE:PATH")
            ends |= {f"{prefix}_id": remote, f"{prefix}_path": path}
        fields: dict[str, Any] = {"task_id": f"submit-{secrets.token_hex(6)}", **ends}
        if options is not None:
            try:
                fields["options"] = json.loads(options)
            except ValueError as error:
                raise ValueError(f"--options: expected a JSON object: {error}") from None
        self._line = msgspec.json.encode(fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[bytes]:
        return iter([self._line])


@dataclass(slots=True)
class _Told:
    """What a command has to tell in the end, and its exit code.

    Attributes:
        topic: where jobs are written; None where they are only counted.
        json: whether programs read it.
        jobs: how many there are.
        size_bytes: of them together.
        unknown: of how many that is not known.
        refused: lines that are no jobs, and jobs of many files that could not be spread.
        counted: whether bytes were counted.
        codes: what went wrong.
    """

    topic: str | None
    json: bool
    jobs: int = 0
    size_bytes: int = 0
    unknown: int = 0
    refused: int = 0
    counted: bool = False
    codes: set[int] = field(default_factory=set)

    @property
    def code(self) -> int:
        return max(self.codes, default=exits.OK)

    def refuse(self, where: str, why: str, code: int = exits.OTHER) -> None:
        self.refused += 1
        self.codes.add(code)
        print(plain(f"{where}: {why}", sys.stderr.encoding), file=sys.stderr)

    def file(self, source: str, destination: str, size_bytes: int | None) -> None:
        """Tell of a file that is only counted."""
        if self.json:
            print(json.dumps({"source": source, "destination": destination, "bytes": size_bytes}))
        else:
            size = "-" if size_bytes is None else size_bytes
            print(plain(f"{size:>12}  {source} → {destination}", sys.stdout.encoding))

    def finish(self) -> None:
        if self.json:
            made: dict[str, Any] = {"jobs": self.jobs, "refused": self.refused, "submitted_to": self.topic}
            if self.counted:
                made |= {"bytes": self.size_bytes, "of_unknown_size": self.unknown}
            print(json.dumps(made))
            return
        note = f", {self.unknown} of them of unknown size" if self.unknown else ""
        counted = f", {self.size_bytes} bytes{note}" if self.counted else ""
        if self.topic is None:
            print(f"{self.jobs} jobs{counted}; nothing was submitted")
        else:
            print(f"submitted {self.jobs} jobs to {self.topic}{counted}")


def _checked(
    found: _List | _One, connections: Connections, told: _Told
) -> Iterator[tuple[bytes | None, bytes]]:
    """Give the lines that are valid jobs, with their keys; the others are named as they come by."""
    for number, line in enumerate(found, start=1):
        job = records.decode(Record(Origin(found.name, 0, number), None, line))
        if isinstance(job, Job):
            yield _key(job, connections), line
        else:
            told.refuse(f"{found.name}: job {number}", job.message)


def _key(job: Job, connections: Connections) -> bytes:
    local = isinstance(connections.get(job.source.remote), LocalFolder)
    return (job.destination if local else job.source).remote.encode()


async def _spread_here(configuration: Configuration, found: _List | _One, told: _Told) -> int:
    """Go through the list, with each bulk job spread; give the exit code."""
    told.counted = True
    code: int = exits.INTERRUPTED
    async with trio.open_nursery() as nursery:
        await nursery.start(end_at_signal, nursery.cancel_scope)
        async with AsyncExitStack() as stack:
            post: Post | None = None
            if told.topic is not None:
                box = await stack.enter_async_context(open_letterbox(configuration.settings.kafka))
                topic = told.topic

                async def post(some: Sequence[tuple[bytes | None, bytes]]) -> None:
                    await box.post(topic, some)

            await _Spreader(configuration, found, told, post).run()
        code = told.code
        nursery.cancel_scope.cancel()
    told.finish()
    return code


class _Spreader:
    """Goes through a list.

    Args:
        configuration: as loaded.
        found: the list.
        told: what comes of it.
        post: writes records; None where they are only counted.
    """

    def __init__(
        self, configuration: Configuration, found: _List | _One, told: _Told, post: Post | None
    ) -> None:
        self._configuration = configuration
        self._found = found
        self._told = told
        self._post = post
        self._waiting: list[tuple[bytes | None, bytes]] = []
        self._single: list[Job] = []

    async def run(self) -> None:
        """Go through it to its end."""
        each = iter(self._found)
        number = 0
        # Abandoned, since a terminal or a pipe may keep a reader waiting for ever.
        while line := await trio.to_thread.run_sync(next, each, b"", abandon_on_cancel=True):
            number += 1
            await self._line(number, line)
        await self._flush()
        if self._post is None:
            size_bytes, unknown = await sizes(self._configuration, self._single)
            self._told.size_bytes += size_bytes
            self._told.unknown += unknown
        else:
            self._told.unknown += len(self._single)

    async def _line(self, number: int, line: bytes) -> None:
        told, connections = self._told, self._configuration.connections
        where = f"{self._found.name}: job {number}"
        job = records.decode(Record(Origin(self._found.name, 0, number), None, line))
        if not isinstance(job, Job):
            told.refuse(where, job.message)
            return
        before = told.jobs
        try:
            if job.bulk:
                await spread_here(self._configuration, _named(job, line), line, self._take)
            else:
                plan(job, connections)
        except BusError:
            raise
        except PoolerError as error:
            made = f"; {told.jobs - before} jobs were made before" if told.jobs > before else ""
            told.refuse(where, f"{error}{made}", _exit_code(error))
            return
        if job.bulk:
            return
        told.jobs += 1
        if len(self._single) <= MOST:
            self._single.append(job)
        else:
            told.unknown += 1
        if self._post is None:
            told.file(str(job.source), str(job.destination), None)
        await self._write(_key(job, connections), line)

    async def _take(self, made: list[Made]) -> None:
        for one in made:
            self._told.jobs += 1
            self._told.size_bytes += one.size_bytes or 0
            self._told.unknown += one.size_bytes is None
            if self._post is None:
                self._told.file(one.source, one.destination, one.size_bytes)
            else:
                job = records.decode(Record(Origin("", 0, 0), None, one.value))
                assert isinstance(job, Job)  # noqa: S101 - made of one that is
                await self._write(_key(job, self._configuration.connections), one.value)

    async def _write(self, key: bytes, value: bytes) -> None:
        self._waiting.append((key, value))
        if len(self._waiting) >= _AT_ONCE:
            await self._flush()

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._post is not None and waiting:
            await self._post(waiting)


def _named(job: Job, line: bytes) -> Job:
    """Give a job that has no name one of its own: its files have theirs from it."""
    given = msgspec.json.decode(line).get("task_id")
    return job if given else replace(job, task_id=f"submit-{secrets.token_hex(6)}")


def _exit_code(error: PoolerError) -> int:
    if error.code in FOR_GOOD:
        return exits.JOBS_FAILED
    return exits.TEMPORARY if error.retriable else exits.OTHER
