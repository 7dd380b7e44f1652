"""Reads the configuration again while the service runs: by SIGHUP, by the API, or as a file has changed.

A wrong file changes nothing. Else what can change while all runs does, and what cannot is named, and stays as
it was until the process is started anew:

- A remote that is new is driven from now on. One that is gone finishes its running jobs; those that wait, and
  those that come, are answered ``UNKNOWN_REMOTE``.
- Bounds of a remote change in place. Whatever else changes of it holds for new sessions: the ones that there
  are end after the job in hand. Its jobs, its breaker and what was found out about its limit stay.
- Of the settings those in `_LIVE`.
- Tokens.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import structlog
import trio
from watchfiles import awatch

from pooler.config import Configuration, load
from pooler.config.remotes import Connections, FtpRemote
from pooler.config.settings import Settings
from pooler.crew import Crew
from pooler.errors import ConfigError, ErrorCode, JobError
from pooler.flow.remote import Remote
from pooler.ops import logs
from pooler.ops.http.auth import Guard, load_tokens
from pooler.ops.http.reloading import ReloadReport
from pooler.remotes import (
    cautious_connector,
    connector,
    limit_group,
    limit_key,
    policy_of,
    thresholds_of,
    totals_of,
)
from pooler.service import RunningService

log = structlog.get_logger(__name__)

_BOUNDS: Final = frozenset({
    "max_sessions", "max_sessions_total", "connects_per_minute", "data_connections_per_s",
    "bandwidth_bytes_per_s", "bandwidth_total_bytes_per_s", "maintenance", "idle_timeout_s",
    "max_session_age_s", "owner",
})  # fmt: skip
"""Of a remote: what changes without a new session."""

_LIVE: Final = frozenset({
    ("logging", "level"), ("logging", "format"), ("pool", "bandwidth"), ("pool", "max_sessions_per_pod"),
    ("pool", "max_sessions_per_connection"), ("pool", "connects_per_minute"),
    ("pool", "data_connections_per_second"), ("pool", "session_timeout_seconds"),
    ("transfer", "connect_timeout_seconds"), ("transfer", "reply_timeout_seconds"),
    ("transfer", "stall_timeout_seconds"), ("retry", "attempts"), ("retry", "deadline_seconds"),
    ("retry", "base_backoff_ms"), ("retry", "max_backoff_ms"), ("circuit_breaker", "failure_threshold"),
    ("circuit_breaker", "success_threshold"), ("circuit_breaker", "timeout_seconds"),
    ("circuit_breaker", "half_open_max_calls"),
})  # fmt: skip
"""The settings that change while all runs, by section and key."""

_LOOK_MS: Final = 5_000
_OF_SESSIONS: Final = ("connect_timeout_seconds", "reply_timeout_seconds", "stall_timeout_seconds")


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, and is without mistakes."""

    configuration: Configuration
    tokens: tuple[Any, ...]


class Reloader:
    """Reads the files again, and does what can be done.

    Args:
        configuration: what is in force.
        service: shows it.
        guard: knows the tokens.
    """

    def __init__(self, configuration: Configuration, service: RunningService, guard: Guard) -> None:
        self._now = configuration
        self._service = service
        self._guard = guard
        self._crew: Crew | None = None
        self._one_at_a_time = trio.Lock()
        files = (
            configuration.config_file,
            configuration.connections_file,
            configuration.settings.api.token_file,
        )
        self._files = tuple(file for file in files if file is not None)
        self._seen = _digest(self._files)

    def attach(self, crew: Crew) -> None:
        """Change these remotes from now on."""
        self._crew = crew

    async def reload(self, by: str) -> ReloadReport:
        """Read the configuration again.

        Args:
            by: who, or what, wants it; for the log.

        Cancellation: nothing has changed, or all has.
        """
        async with self._one_at_a_time:
            report = await self._reload()
        if report.done:
            log.info("configuration_reloaded", by=by, changed=report.changed, restart=report.needs_restart)
        else:
            log.error("configuration_refused", by=by, mistakes=report.mistakes)
        return report

    async def _reload(self) -> ReloadReport:
        try:
            read = await trio.to_thread.run_sync(self._read)
        except ConfigError as error:
            return ReloadReport(done=False, mistakes=error.problems)
        crew = self._crew
        if crew is None or not crew.fleet.open_to_change:
            return ReloadReport(done=False, mistakes=("this pod is not at work: it starts, or drains",))
        # From here on nothing is awaited: all of it changes at once.
        settings, needs_restart = _merged(self._now.settings, read.configuration.settings)
        remotes, more = _mergeable(self._now.connections, read.configuration.connections)
        needs_restart += more
        before, after = self._now, replace(read.configuration, settings=settings, connections=remotes)
        changed = [*_said(before.settings, settings), *_Change(crew, before, after).do()]
        if read.tokens != self._guard.tokens:
            self._guard.tokens = read.tokens
            changed.append("tokens: read anew")
        self._now = after
        self._service.configured(after)
        return ReloadReport(done=True, changed=tuple(changed), needs_restart=tuple(needs_restart))

    def _read(self) -> _Read:
        self._seen = _digest(self._files)
        found = load(self._now.config_file, self._now.connections_file, self._now.environ)
        token_file = self._now.settings.api.token_file
        return _Read(found, () if token_file is None else load_tokens(token_file))

    async def watch(self) -> None:
        """Reload whenever a file has changed, for ever.

        The folders are watched, not the files: Kubernetes swaps a link in them (``..data``), and editors
        write another file.
        """
        folders = {file.absolute().parent for file in self._files}
        if not folders:
            return
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            # What waits for news is a thread, which no cancellation reaches: it has to be told.
            nursery.start_soon(_set_at_the_end, over)
            try:
                await self._watch(folders, over)
            except OSError as error:
                log.warning("configuration_not_watched", error=str(error))
            nursery.cancel_scope.cancel()

    async def _watch(self, folders: Iterable[Path], over: trio.Event) -> None:
        # Now and then without being told: nobody tells of what happens on another machine's disk.
        watching = awatch(
            *folders, recursive=False, yield_on_timeout=True, rust_timeout=_LOOK_MS, stop_event=over
        )
        async with aclosing(watching):
            async for _ in watching:
                if await trio.to_thread.run_sync(_digest, self._files) != self._seen:
                    await self.reload("a file that has changed")


async def _set_at_the_end(over: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        over.set()


def _digest(files: Iterable[Path]) -> bytes:
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(file.read_bytes() + b"\0")
        except OSError:
            digest.update(b"none")
    return digest.digest()


def _merged(before: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """Take of the settings what can change now; name the rest."""
    merged, needs_restart = {}, []
    for section in type(before).model_fields:
        old, new = getattr(before, section), getattr(wanted, section)
        live = {}
        for key in type(old).model_fields:
            if getattr(old, key) == getattr(new, key):
                continue
            if (section, key) in _LIVE:
                live[key] = getattr(new, key)
            else:
                needs_restart.append(f"{section}.{key}")
        merged[section] = old.model_copy(update=live)
    return before.model_copy(update=merged), needs_restart


def _mergeable(before: Connections, wanted: Connections) -> tuple[Connections, list[str]]:
    """Take of the remotes what can change now, with the folders that there are; name the rest."""
    folders = {folder.name: folder for folder in before.folders}
    asked = {folder.name: folder for folder in wanted.folders}
    names = sorted(folders.keys() | asked.keys())
    needs_restart = [f"folder {name}" for name in names if folders.get(name) != asked.get(name)]
    ends = []
    old = {remote.name: remote for remote in before.remotes}
    for remote in wanted.remotes:
        was = old.get(remote.name)
        if remote.name in folders:
            needs_restart.append(f"remote {remote.name}: it was a folder")
        elif was is not None and was.limit_group != remote.limit_group:
            needs_restart.append(f"remote {remote.name}: limit_group")
            ends.append(replace(remote, limit_group=was.limit_group))
        else:
            ends.append(remote)
    return Connections(*ends, *before.folders), needs_restart


def _said(before: Settings, after: Settings) -> Iterator[str]:
    for section, key in sorted(_LIVE):
        new = getattr(getattr(after, section), key)
        if getattr(getattr(before, section), key) != new:
            yield f"{section}.{key}: {new}"


class _Change:
    """From one configuration to the next; never awaits."""

    def __init__(self, crew: Crew, before: Configuration, after: Configuration) -> None:
        self._crew = crew
        self._reins = crew.reins
        self._before, self._after = before, after

    def do(self) -> list[str]:
        settings = self._after.settings
        if settings.logging != self._before.settings.logging:
            logs.configure(settings.logging.level, settings.logging.format, sys.stderr)
        self._crew.bandwidth.limit(settings.pool.bandwidth)
        self._reins.budget.bound(settings.pool.max_sessions_per_pod)
        self._crew.fleet.go_by(
            self._after.connections,
            attempts=settings.retry.attempts,
            deadline_s=settings.retry.deadline_seconds,
        )
        told = list(self._change_remotes())
        self._bound_groups()
        self._reins.steering.rebound(
            self._reins.groups, self._reins.remotes, totals_of(self._after.connections.remotes)
        )
        return told

    def _change_remotes(self) -> Iterator[str]:
        before = {remote.name: remote for remote in self._before.connections.remotes}
        after = {remote.name: remote for remote in self._after.connections.remotes}
        for name in before.keys() - after.keys():
            yield self._remove(self._reins.remotes[name])
        for name, remote in after.items():
            if name not in self._reins.remotes:
                yield self._add(remote)
                continue
            keys = _differences(before[name], remote) if name in before else {"added again"}
            if keys or self._before.settings != self._after.settings:
                self._change(remote, keys)
            if keys:
                yield f"remote {name}: {', '.join(sorted(keys))}"

    def _remove(self, remote: Remote) -> str:
        waiting = remote.waiting
        message = f"{remote.name!r}: its section was taken out of connections.ini"
        remote.remove(JobError(ErrorCode.UNKNOWN_REMOTE, message))
        return f"remote {remote.name}: removed" + (
            f", {waiting} jobs that wait for it fail" if waiting else ""
        )

    def _add(self, remote: FtpRemote) -> str:
        reins, settings = self._reins, self._after.settings
        made = reins.connectors[remote.name] = connector(remote, settings)
        by = cautious_connector(remote, made, reins.steering)
        key = limit_key(remote)
        if key not in reins.groups:
            reins.groups[key] = limit_group([remote], settings.pool)
        reins.metrics.add_remote(remote.name)
        self._crew.fleet.add(reins.hire(remote, settings, reins.groups[key], by, prewarm=False), by)
        return f"remote {remote.name}: added"

    def _change(self, remote: FtpRemote, keys: set[str]) -> None:
        reins, settings = self._reins, self._after.settings
        employed = reins.remotes[remote.name]
        by = None
        of_sessions = any(
            getattr(self._before.settings.transfer, key) != getattr(settings.transfer, key)
            for key in _OF_SESSIONS
        )
        if keys - _BOUNDS or of_sessions:
            made = reins.connectors[remote.name] = connector(remote, settings)
            by = cautious_connector(remote, made, reins.steering)
        policy = policy_of(remote, settings, give_up=employed.policy.give_up)
        employed.change(policy, thresholds_of(settings), by)
        self._crew.fleet.changed(employed, by)

    def _bound_groups(self) -> None:
        members: dict[str, list[FtpRemote]] = {}
        for remote in self._after.connections.remotes:
            members.setdefault(limit_key(remote), []).append(remote)
        for key, remotes in members.items():
            made = limit_group(remotes, self._after.settings.pool)
            self._reins.groups[key].bound(made.limit.ceiling, made.logins, made.data)


def _differences(before: FtpRemote, after: FtpRemote) -> set[str]:
    """Tell which keys of a remote were changed."""
    return {one.name for one in fields(before) if getattr(before, one.name) != getattr(after, one.name)}
