"""``pooler job retry``: failed jobs once more, counted first, and never those that have completed since."""

import datetime as dt
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from pooler.bus.submit import Letter, submit
from pooler.bus.survey import survey
from pooler.cli import exits
from pooler.cli.admin import view
from pooler.cli.admin.view import Output
from pooler.cli.jobs.choice import Choice, Failed, Wanted, repeated, since
from pooler.cli.jobs.sizes import sizes
from pooler.cli.options import HERE, Files
from pooler.cli.text import plain
from pooler.config import Configuration
from pooler.config.problems import did_you_mean
from pooler.config.remotes import LocalFolder
from pooler.errors import ErrorCode
from pooler.ops import logs


async def retry(
    *,
    remote: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    code: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    since_: Annotated[str, Parameter(name="--since")] = "24h",
    all_codes: Annotated[bool, Parameter(negative="")] = False,
    rate: float | None = None,
    limit: int = 100_000,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    urgent: Annotated[bool, Parameter(negative="")] = False,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """Submit failed jobs once more, as they were; without --code those that failed in a way that may pass.

    Counts jobs and bytes first. A job that has completed since its failure is left out, and so is one
    that was submitted anew by this command already.

    Exits with 0 when it is done, 2 for what cannot be meant, 7 where the brokers cannot be reached.

    Args:
        remote: of jobs that come from there or go there; may be repeated.
        code: of jobs that failed with it; may be repeated.
        since_: of failures not older than that: such as 2h, 30m, 7d or 2026-11-30T09:00.
        all_codes: of jobs that failed for good, too.
        rate: so many jobs a second at most.
        limit: not at all where there are more jobs than that.
        dry_run: count, and submit nothing.
        urgent: write them to the priority topic.
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    configuration = files.load()
    logs.configure("WARNING", "console", sys.stderr)
    kafka = configuration.settings.kafka
    try:
        since_ms = since(since_, dt.datetime.now(dt.UTC))
        choice = Choice(_wanted(configuration, remote, code, all_codes=all_codes), limit)
    except ValueError as error:
        print(plain(str(error), sys.stderr.encoding), file=sys.stderr)
        return exits.USAGE
    topic = kafka.priority_topic if urgent else kafka.input_topic
    if not topic:
        print("--urgent: there is no priority topic: expected one as kafka.priority_topic", file=sys.stderr)
        return exits.USAGE
    await survey(kafka, [kafka.fail_topic], choice.failures, since_ms=since_ms)
    if choice.overflown:
        print(f"more than {limit} jobs: narrow it, or raise --limit", file=sys.stderr)
        return exits.USAGE
    if choice.failed:
        await survey(kafka, [kafka.result_topic], choice.results, since_ms=since_ms)
    if choice.failed:
        await survey(kafka, kafka.job_topics, choice.jobs, since_ms=since_ms)
    chosen = list(choice.failed.values())
    size_bytes, unknown = await sizes(configuration, [failed.job for failed in chosen])
    _tell(choice, size_bytes, unknown, output=output, topic=None if dry_run else topic)
    if chosen and not dry_run:
        letters = _letters(configuration, chosen)
        count = await submit(kafka, letters, topic, per_s=rate)
        print(f"submitted {count} jobs to {topic}", file=sys.stderr)
    return exits.OK


def _wanted(
    configuration: Configuration, remotes: Sequence[str], codes: Sequence[str], *, all_codes: bool
) -> Wanted:
    known = [remote.name for remote in configuration.connections.remotes]
    for name in remotes:
        if configuration.connections.get(name) is None:
            raise ValueError(f"{name}: no such remote{did_you_mean(name, known)}")
    codes = [code.upper() for code in codes]
    for code in codes:
        if code not in ErrorCode.__members__:
            raise ValueError(f"{code}: no such error code{did_you_mean(code, list(ErrorCode.__members__))}")
    return Wanted(frozenset(remotes), frozenset(codes), all_codes)


def _letters(configuration: Configuration, chosen: Iterable[Failed]) -> Iterator[Letter]:
    for failed in chosen:
        local = isinstance(configuration.connections.get(failed.job.source.remote), LocalFolder)
        end = failed.job.destination if local else failed.job.source
        yield Letter(end.remote.encode(), failed.value, repeated(failed))


def _tell(choice: Choice, size_bytes: int, unknown: int, *, output: str, topic: str | None) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for failed in choice.failed.values():
        counts[f"{failed.job.source.remote} → {failed.job.destination.remote}", failed.code] += 1
    if output == "json":
        view.print_json(
            {
                "jobs": len(choice.failed),
                "bytes": size_bytes,
                "of_unknown_size": unknown,
                "submitted_to": topic,
                "by": [{"way": way, "code": code, "jobs": jobs} for (way, code), jobs in counts.items()],
                "left_out": choice.passed_over,
            }
        )
        return
    drawn = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for title in ("WAY", "CODE", "JOBS"):
        drawn.add_column(title, justify="right" if title == "JOBS" else "left", no_wrap=True)
    for (way, code), jobs in sorted(counts.items()):
        drawn.add_row(plain(way, sys.stdout.encoding), code, str(jobs))
    view.console().print(drawn)
    note = f", {unknown} of them of unknown size" if unknown else ""
    print(f"{len(choice.failed)} jobs, {size_bytes} bytes{note}")
    for why, jobs in choice.passed_over.items():
        print(f"{jobs} left out: {why}")
