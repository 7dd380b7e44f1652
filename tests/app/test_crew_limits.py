"""What a configuration says of sessions, logins and data connections reaches those who obey it."""

from pathlib import Path

import pytest
import trio

from pooler.config import Configuration, load
from pooler.crew import Crew, assemble
from pooler.flow.breaker import Event, State
from pooler.flow.rates import Sample
from pooler.model.control import Knob, Login, Mode, Trial
from pooler.model.outcome import Ended, Parked, Spread
from pooler.ops.http.service import MovedStatus
from pooler.ops.metrics import Metrics
from pooler.service import RunningService

REMOTE = "type = ftp\nhost = ftp.example.com\nuser = anna\npass = secret\n"


def configured(folder: Path, connections: str, pool: str = "{}") -> Configuration:
    (folder / "config.yaml").write_text(f"pool: {pool}\n")
    (folder / "connections.ini").write_text(f"{connections}\n[local]\ntype = local\nbase_path = {folder}\n")
    return load(folder / "config.yaml", folder / "connections.ini", {})


def crew_of(configuration: Configuration) -> Crew:
    answers, _ = trio.open_memory_channel[Ended | Parked | Spread](1)
    return assemble(configuration, wants=lambda _: True, answers=answers, metrics=Metrics("1", []), window=10)


async def test_point_26_remotes_of_one_group_have_one_limit(tmp_path: Path) -> None:
    crew = crew_of(
        configured(
            tmp_path,
            f"[a]\n{REMOTE}limit_group = host\nmax_sessions = 6\nconnects_per_minute = 60\n"
            f"[b]\n{REMOTE}limit_group = host\nmax_sessions = 3\ndata_connections_per_second = 2.5\n"
            f"[host]\n{REMOTE}max_sessions = 7\n",
        )
    )
    remotes = crew.fleet.remotes
    shared = remotes["a"].group
    assert shared is remotes["b"].group
    assert shared is not remotes["host"].group
    assert [member.name for member in shared.members] == ["a", "b"]
    assert (shared.limit.ceiling, remotes["a"].most, remotes["b"].most) == (6, 6, 3)
    assert shared.data.per_s == 2.5
    assert shared.logins.per_s * 60 == 45  # and 15 at once
    assert remotes["host"].group.limit.ceiling == 7


async def test_what_a_remote_does_not_say_is_the_pool_s(tmp_path: Path) -> None:
    pool = "{max_sessions_per_connection: 9, connects_per_minute: 8, data_connections_per_second: 3}"
    group = crew_of(configured(tmp_path, f"[a]\n{REMOTE}", pool)).fleet.remotes["a"].group
    assert (group.limit.ceiling, group.limit.current(0.0), group.limit.adaptive) == (9, 4, True)
    assert group.data.per_s == 3.0
    assert group.logins.per_s * 60 == 6


async def test_a_fixed_number_is_all_that_is_allowed(tmp_path: Path) -> None:
    configuration = configured(tmp_path, f"[a]\n{REMOTE}", "{adaptive_sessions: false}")
    limit = crew_of(configuration).fleet.remotes["a"].group.limit
    assert (limit.current(0.0), limit.adaptive, limit.state(0.0)) == (10, False, "fixed")


async def test_the_service_tells_why_a_limit_is_what_it_is(tmp_path: Path) -> None:
    start = f"{REMOTE}limit_group = host\nmax_sessions = "
    text = f"[a]\n{start}9\n[b]\n{start}2\n"
    crew = crew_of(configured(tmp_path, text))
    service = RunningService({"a": "h", "b": "h"}, lambda: None)
    service.attach(None, crew)  # type: ignore[arg-type]
    group = crew.fleet.remotes["a"].group
    now = trio.current_time()
    for _ in range(10):
        group.limit.observe(Sample(0.5, 4, full=True, files=10, size_bytes=10_000, reply_s=2.5), now)
    group.limit.too_many(5, now, "421 too many")
    a, b = service.remotes()
    assert (a.limit, a.target, b.limit, b.limits.most) == (5, 4, 2, 2)
    limits = a.limits
    assert (limits.state, limits.shared_with, limits.shared_most, limits.let_in) == ("cooling", ("b",), 9, 5)
    assert limits.cools_s is not None
    assert 29 < limits.cools_s <= 30
    refused, tried = limits.decisions
    assert (refused.before, refused.after, refused.error, refused.seen) == (8, 5, "421 too many", None)
    assert (tried.before, tried.after, tried.state) == (4, 8, "starting")
    assert tried.seen == MovedStatus(4, 2.0, 20.0, 20_000, 0.25)


async def test_alone_a_process_keeps_to_what_all_may_have_together(tmp_path: Path) -> None:
    crew = crew_of(
        configured(
            tmp_path,
            f"[a]\n{REMOTE}limit_group = host\nmax_sessions = 6\nmax_sessions_total = 5\n"
            f"[b]\n{REMOTE}limit_group = host\nmax_sessions_total = 3\n"
            f"[c]\n{REMOTE}max_sessions_total = 2\n[d]\n{REMOTE}",
            "{adaptive_sessions: false}",
        )
    )
    limits = {name: remote.group.limit for name, remote in crew.fleet.remotes.items()}
    assert {name: limit.current(0.0) for name, limit in limits.items()} == {"a": 3, "b": 3, "c": 2, "d": 10}


async def test_alone_what_is_wanted_holds_until_it_is_left_to_the_configuration_again(tmp_path: Path) -> None:
    crew = crew_of(
        configured(
            tmp_path,
            f"[a]\n{REMOTE}max_sessions_total = 5\nbandwidth = 4K\nbandwidth_total = 8K\n",
            "{adaptive_sessions: false}",
        )
    )
    service = RunningService({"a": "h"}, lambda: None)
    service.attach(None, crew)  # type: ignore[arg-type]
    remote = crew.fleet.remotes["a"]

    def held() -> tuple[bool, int, int, float | None, float | None]:
        (told,) = service.remotes()
        together = remote.group.bandwidth.bytes_per_s
        return told.paused, told.limits.most, told.limit, together, told.bandwidth_bytes_per_s

    assert held() == (False, 10, 5, 8192, 4096)
    wanted: dict[Knob, Mode | int] = {
        Knob.WORK: Mode.DRAIN,
        Knob.MAX_SESSIONS: 9,
        Knob.MAX_SESSIONS_TOTAL: 2,
        Knob.BANDWIDTH: 1000,
    }
    for knob, value in wanted.items():
        await service.steer("a", knob, value, by="anna", why="")
    assert held() == (True, 9, 2, 1000, 1000)
    for knob in wanted:
        await service.steer("a", knob, None, by="anna", why="")
    assert held() == (False, 10, 5, 8192, 4096)
    with pytest.raises(KeyError):
        await service.steer("b", Knob.WORK, Mode.PAUSE, by="anna", why="")


async def test_alone_a_refused_login_is_forgotten_when_somebody_says_so(tmp_path: Path) -> None:
    crew = crew_of(configured(tmp_path, f"[a]\n{REMOTE}"))
    service = RunningService({"a": "h"}, lambda: None)
    service.attach(None, crew)  # type: ignore[arg-type]
    book, breaker = crew.alone.book, crew.fleet.remotes["a"].breaker
    await book.write(Login("a", "abc", Trial.REFUSED, "alone", "here", 1.0, "530 no"))
    breaker.note(Event.REFUSAL, 0.0)
    await service.steer("a", Knob.BREAKER, None, by="anna", why="")
    assert (book.login("a", "abc"), breaker.state) == (None, State.CLOSED)
