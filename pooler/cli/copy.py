"""``pooler copy``: the same pipeline for a person who has no Kafka."""

import sys
from typing import Annotated, BinaryIO

import trio
from cyclopts import Parameter

from pooler.bus.jobfile import JobFile, batches, open_list
from pooler.bus.source import Answer
from pooler.cli import exits
from pooler.cli.options import HERE, Files
from pooler.cli.progress import Progress, showing
from pooler.config import Configuration
from pooler.config.worker import worker_name
from pooler.course import ANSWERS_ROOM, check_roots, conduct, obey_signals
from pooler.crew import assemble
from pooler.ops import garbage, logs
from pooler.ops.metrics import Metrics
from pooler.version import version


async def copy(
    jobs: Annotated[str, Parameter(allow_leading_hyphen=True)], *, verbose: bool = False, files: Files = HERE
) -> int:
    """Copy a list of jobs: one JSON object a line, as it would stand on the topic.

    Writes one result line for each job to the standard output, and progress to the standard error. A remote
    that cannot be reached is given up after some tries, and its jobs fail.

    Exits with 0 where every job succeeded or was skipped, 5 where some failed in a way that may pass, 6
    where some failed for good, 7 where the configuration cannot be used, 130 after SIGINT or SIGTERM: the
    first lets running transfers finish, the second does not.

    Args:
        jobs: a file, or ``-`` for the standard input.
        verbose: log as the configuration says, in place of showing progress.
        files: where the configuration stands.
    """
    configuration = files.load()
    settings = configuration.settings.logging
    logs.configure(settings.level if verbose else "ERROR", settings.format, sys.stderr)
    try:
        stream = open_list(jobs)
    except OSError as error:
        print(f"{jobs}: {error.strerror}", file=sys.stderr)
        return exits.USAGE
    with stream:
        run = _Run(configuration, "stdin" if jobs == "-" else jobs, stream)
        try:
            return await run.to_the_end(quiet=verbose)
        except BaseExceptionGroup as group:
            # Whoever read the results is gone, as in `pooler copy … | head`: `main` knows what to do.
            if group.split(BrokenPipeError)[1] is None:
                raise BrokenPipeError from group
            raise


class _Run:
    """One list of jobs on its way."""

    def __init__(self, configuration: Configuration, name: str, stream: BinaryIO) -> None:
        self._configuration = configuration
        self._drain = trio.Event()
        self._jobs = JobFile(
            name,
            batches(stream),
            _write_line,
            worker=worker_name(),
            window=configuration.settings.kafka.window_records,
        )

    @property
    def draining(self) -> bool:
        return self._drain.is_set()

    def drain(self) -> None:
        self._drain.set()
        print("finishing what runs; interrupt again to end at once", file=sys.stderr, flush=True)

    async def to_the_end(self, *, quiet: bool) -> int:
        settings = self._configuration.settings
        await check_roots(self._configuration)
        garbage.look_seldom()
        channel = trio.open_memory_channel[Answer](ANSWERS_ROOM)
        crew = assemble(
            self._configuration,
            wants=self._jobs.wants,
            answers=channel[0],
            metrics=Metrics(version(), [remote.name for remote in self._configuration.connections.remotes]),
            window=settings.kafka.window_records,
            give_up=True,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(obey_signals, self, nursery.cancel_scope)
            progress = Progress(crew, self._jobs)
            if not quiet:
                await nursery.start(showing, progress)
            drain_s = settings.transfer.drain_seconds
            await conduct(crew, self._jobs, self._jobs.write, channel, drain=self._drain, drain_s=drain_s)
            nursery.cancel_scope.cancel()
        return self._exit_code()

    def _exit_code(self) -> int:
        if self.draining:
            return exits.INTERRUPTED
        if any(not retriable for _, retriable in self._jobs.codes):
            return exits.JOBS_FAILED
        return exits.TEMPORARY if self._jobs.codes else exits.OK


def _write_line(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
