"""Leases, who is gone, journals, and what is swept: by a clock of the test's own, on a real file system."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pooler.errors import ErrorCode, JobError, LocalFileError, PoolerError
from pooler.model.job import Origin
from pooler.storage import journal
from pooler.storage.control import FOLDER, LEASE, control_folder
from pooler.storage.incarnation import LivingOnes
from pooler.storage.journal import Entry, Journal, read_entries
from pooler.storage.landing import PartFile, land
from pooler.storage.lease import Lease, LeaseLost
from pooler.storage.root import LocalRoot
from pooler.storage.sweep import author_of
from pooler.storage.tenancy import Swept, Tenancy
from pooler.transfer.names import Author, incarnation, local_name


@dataclass
class World:
    """A root, the processes that share it, and the time: of the processes and of the file system.

    Attributes:
        now: in seconds, by every process's clock.
    """

    top: Path
    now: float = field(default_factory=time.time)

    def pod(self, *, sweep_after_s: float = 900.0, min_free_bytes: int = 0) -> "Pod":
        root = LocalRoot("disk", self.top)
        tenancy = Tenancy(
            root,
            incarnation,
            min_free_bytes=min_free_bytes,
            sweep_after_s=sweep_after_s,
            clock=lambda: self.now,
        )
        pod = Pod(self, root, tenancy)
        pod.look()
        pod.look()  # a new file has the time of the machine
        return pod

    def passes(self, seconds: float, *living: "Pod") -> None:
        """Let time pass; the living renew as they do."""
        end = self.now + seconds
        while self.now < end:
            self.now += min(5.0, end - self.now)
            for pod in living:
                pod.look()
                pod.gone = pod.tenancy.find_gone()

    def names(self) -> set[str]:
        return {str(found.relative_to(self.top)) for found in self.top.rglob("*") if found.is_file()}

    def files(self) -> set[str]:
        """Tell what is there besides our own accounts."""
        return {name for name in self.names() if not name.startswith(".pooler/")}


@dataclass
class Pod:
    """A process on the root."""

    world: World
    root: LocalRoot
    tenancy: Tenancy
    serial: int = 0
    gone: list[str] = field(default_factory=list)

    def look(self, *, thorough: bool = False) -> None:
        self.tenancy.look(thorough)

    @property
    def lease(self) -> Lease:
        assert self.root.lease is not None
        return self.root.lease

    @property
    def name(self) -> str:
        return self.lease.incarnation

    def part_name(self) -> str:
        self.serial += 1
        return local_name(Author(self.name, Origin("t", 0, self.serial), self.serial).token())

    def begin(self, path: str) -> PartFile:
        part = PartFile(self.root, path.split("/"), self.part_name(), replace=True)
        part.write(memoryview(b"new"))
        return part

    def sweep_all(self) -> dict[str, Swept | None]:
        return {gone: self.tenancy.sweep(gone) for gone in self.gone}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found, real = World(tmp_path), os.utime

    def utime(path: Any, ns: tuple[int, int] | None = None, **named: Any) -> None:
        # The time of the file system is that of the test.
        real(path, ns=ns or (round(found.now * 1e9),) * 2, **named)

    monkeypatch.setattr(os, "utime", utime)
    return found


# ---- leases ---------------------------------------------------------------------------------------------


def test_who_comes_as_the_last_one_leaves_makes_the_folder_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([True] * 5)

    @contextlib.contextmanager
    def opened(root: Path) -> Iterator[int]:
        if next(left, False):
            (root / FOLDER).rmdir()
        with control_folder(root) as folder:
            if next(left, False):
                (root / FOLDER).rmdir()
            yield folder

    monkeypatch.setattr("pooler.storage.lease.control_folder", opened)
    Lease(tmp_path, "me").renew()
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["me" + LEASE]


def test_a_root_that_is_gone_has_no_lease(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="No such file"):
        Lease(tmp_path / "gone", "me")


def test_a_clean_end_leaves_nothing(world: World) -> None:
    one, two = world.pod(), world.pod()
    assert len(world.names()) == 2
    one.begin("a/f").let_go()
    one.tenancy.leave()
    assert world.names() == {f".pooler/{two.name}.lease"}
    two.tenancy.leave()
    assert [found.name for found in world.top.iterdir()] == ["a"]


def test_who_renews_lives_and_who_stops_is_gone_after_two_minutes(world: World) -> None:
    one, two = world.pod(), world.pod()
    world.passes(600, one, two)
    assert not two.tenancy.living.is_gone(one.name)
    world.passes(115, two)
    assert not two.tenancy.living.is_gone(one.name)
    world.passes(10, two)
    assert two.tenancy.living.is_gone(one.name)
    assert two.gone == []  # but what it left may still be taken over
    world.passes(790, two)
    assert two.gone == [one.name]


def test_who_is_gone_is_seen_so_only_by_who_has_watched(world: World) -> None:
    one = world.pod()
    world.passes(600)
    two = world.pod()
    two.tenancy.find_gone()
    assert not two.tenancy.living.is_gone(one.name)
    world.passes(25, two)
    assert not two.tenancy.living.is_gone(one.name)
    world.passes(15, two)
    assert two.tenancy.living.is_gone(one.name)


def test_a_clock_of_the_file_system_that_jumps_kills_nobody(world: World) -> None:
    one, two = world.pod(), world.pod()
    world.passes(60, one, two)
    two.tenancy.living.look(two.lease.renewed_ns + 3600 * 10**9)
    assert not two.tenancy.living.is_gone(one.name)


def test_whom_nobody_knows_is_not_gone(world: World) -> None:
    pod = world.pod()
    world.passes(600, pod)
    assert not pod.tenancy.living.is_gone("beef")
    assert not pod.tenancy.living.lives("beef")
    assert not pod.tenancy.living.is_gone(pod.name)


def test_who_was_stopped_gives_no_names_and_begins_anew(world: World) -> None:
    pod = world.pod()
    part = pod.begin("f")
    old = pod.name
    world.now += 31
    (error,) = land([part], "never")
    assert isinstance(error, LeaseLost)
    assert world.files() == set()
    with pytest.raises(LeaseLost):
        pod.begin("g")
    pod.look()
    assert pod.name != old
    assert land([pod.begin("f")], "never") == [None]
    # What was begun under the old name stays without one.
    with pytest.raises(LeaseLost):
        PartFile(pod.root, ["g"], f".pooler-{old}-0123456789abcdef-1.part", replace=True)


def test_what_was_begun_before_is_nobodys_afterwards(world: World) -> None:
    """Meanwhile others may have taken it over, under the name that it had."""
    pod = world.pod()
    part = pod.begin("f")
    world.now += 31
    pod.look()
    assert pod.lease.holds
    (error,) = land([part], "never")
    assert isinstance(error, LeaseLost)
    assert world.files() == set()


def test_a_lease_that_lapses_in_the_middle_of_a_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, real = world.pod(), os.rename
    files = [pod.begin(name) for name in ("a", "b")]

    def rename(*args: Any, **named: Any) -> None:
        real(*args, **named)
        world.now += 31  # stopped here

    monkeypatch.setattr(os, "rename", rename)
    errors = land(files, "never")
    assert [type(error) for error in errors] == [type(None), LeaseLost]
    assert world.files() == {"a"}


def test_just_before_its_time_a_lease_still_holds(world: World) -> None:
    pod = world.pod()
    part = pod.begin("f")
    world.now += 29
    assert land([part], "never") == [None]


def test_a_lease_that_was_taken_away_is_not_taken_back(world: World) -> None:
    pod, part = world.pod(), None
    part = pod.begin("f")
    old = pod.name
    (world.top / ".pooler" / f"{old}.lease").unlink()
    (error,) = land([part], "batch")
    assert isinstance(error, LeaseLost)
    pod.look()
    assert pod.name != old


def test_a_part_that_somebody_swept_is_no_missing_file(world: World) -> None:
    pod = world.pod()
    part = pod.begin("f")
    (world.top / part.temporary).unlink()
    (error,) = land([part], "never")
    assert isinstance(error, LocalFileError)
    assert (error.code, error.retriable) == (ErrorCode.IO_ERROR, True)


def test_nothing_is_named_on_a_volume_that_is_another(world: World) -> None:
    """The mount point without its mount: a folder like any other."""
    pod = world.pod()
    world.top.rename(world.top.with_name("unmounted"))
    world.top.mkdir()
    part = pod.root
    with pytest.raises(LocalFileError):
        pod.look()
    world.now += 31
    with pytest.raises(LocalFileError) as caught:
        pod.look()
    assert "not the volume" in str(caught.value)
    assert list(world.top.iterdir()) == []
    assert part.lease is not None
    world.top.rmdir()
    world.top.with_name("unmounted").rename(world.top)
    pod.look()
    assert land([pod.begin("f")], "never") == [None]


def test_a_landing_on_a_volume_that_went_away_meanwhile(world: World) -> None:
    pod = world.pod()
    world.top.rename(world.top.with_name("unmounted"))
    world.top.mkdir()
    # As on a server whose root is not mounted: what is made there would be lost from sight.
    with pytest.raises(PoolerError):
        pod.begin("f")
    assert world.files() == set()
    world.top.with_name("unmounted").joinpath(".pooler").rename(world.top / ".pooler")
    part = pod.begin("f")
    (world.top / ".pooler").rename(world.top / "elsewhere")
    (error,) = land([part], "never")
    assert isinstance(error, LocalFileError)
    assert not (world.top / "f").exists()


def test_jobs_do_not_reach_it(world: World) -> None:
    pod = world.pod()
    (world.top / "link").symlink_to(".pooler")
    for parts in ([".pooler", "x"], ["link", "x"], ["a", ".pooler", "x"]):
        with pytest.raises(JobError) as caught:
            PartFile(pod.root, parts, pod.part_name(), replace=True)
        assert caught.value.code is ErrorCode.PATH_OUTSIDE_ROOT
        with pytest.raises(JobError):
            pod.root.open_source(parts)


def test_too_little_room_is_a_full_disk(world: World) -> None:
    with pytest.raises(LocalFileError) as caught:
        world.pod(min_free_bytes=1 << 60)
    assert caught.value.code is ErrorCode.DISK_FULL


# ---- what is swept --------------------------------------------------------------------------------------


def test_what_the_dead_left_is_swept_and_nothing_else(world: World) -> None:
    dead, alive = world.pod(), world.pod()
    for path in ("f", "a/f", "a/g", "b/c/f"):
        dead.begin(path)
    mine = alive.begin("a/f")
    others = {
        "a/.pooler-dead.part",
        "a/x.part",
        "a/.pooler-0badcafe-0123456789abcdef-1.part",
        f"a/.pooler-{dead.name}-0123456789abcdef-1.part.bak",
        f"a/x.pooler-{dead.name}-0123456789abcdef-1.part",
        f"a/.pooler-{dead.name}0-0123456789abcdef-1.part",
        f"elsewhere-.pooler-{dead.name}-0123456789abcdef-1.part",
    }
    others |= {".pooler-probe-0badcafe", f".pooler-probe-{alive.name}"}
    for name in others:
        (world.top / name).write_bytes(b"")
    for name in (f".pooler-probe-{dead.name}", f".pooler-probe-{dead.name}.renamed"):
        (world.top / name).write_bytes(b"")
    world.passes(890, alive)
    assert alive.gone == []
    assert len(world.files()) == 4 + 1 + len(others) + 2
    world.passes(20, alive)
    assert alive.sweep_all() == {dead.name: Swept(4, [])}
    assert world.files() == {f"a/{mine.temporary}", *others}
    world.passes(20, alive)
    assert alive.gone == []
    assert land([mine], "never") == [None]
    alive.tenancy.leave()
    assert not (world.top / ".pooler").exists()


def test_the_pattern_is_that_of_the_names() -> None:
    name = incarnation()
    token = Author(name, Origin("t", 3, 14), 159).token()
    assert author_of(f"/in/{local_name(token)}") == name
    assert author_of(f"/in/prefix.{token}.tmp") == name
    assert author_of(f"/{token}/f") is None
    assert author_of("/in/important") is None


def test_of_two_that_sweep_one_does(world: World) -> None:
    dead, one, two = world.pod(), world.pod(), world.pod()
    dead.begin("f")
    world.passes(950, one, two)
    journal_file = world.top / ".pooler" / f"{dead.name}.journal"
    journal_file.rename(journal_file.with_name(f"{dead.name}.journal.{one.name}"))
    assert two.sweep_all() == {dead.name: None}
    assert world.files() != set()
    # But not for ever, if that one dies over it.
    world.passes(950, two)
    swept = two.sweep_all()
    assert swept[dead.name] == Swept(1, [])
    assert world.files() == set()


def test_what_the_dead_left_on_servers_becomes_ours(world: World) -> None:
    dead, heir, third = world.pod(), world.pod(), world.pod()
    left = Entry("site", f"/in/.pooler-{dead.name}-0123456789abcdef-1.part")
    dead.root.note(left, left.path)
    done = Entry("site", f"/in/.pooler-{dead.name}-0123456789abcdef-2.part")
    dead.root.note(done, done.path)
    world.passes(950, heir, third)
    swept = heir.sweep_all()
    assert swept == {dead.name: Swept(0, [left, done])}
    heir.root.forget(done, done.path)
    # It dies before it could remove the other one.
    world.passes(950, third)
    again = third.sweep_all()[heir.name]
    assert again is not None
    assert left in again.on_servers
    third.root.forget(left, left.path)
    third.root.forget(done, done.path)
    third.tenancy.leave()
    assert not (world.top / ".pooler").exists()


def test_a_forged_journal_removes_nothing_of_others(world: World) -> None:
    dead, alive, heir = world.pod(), world.pod(), world.pod()
    (world.top / "a").mkdir()
    (world.top / "a" / "f").write_bytes(b"")
    living = f"/in/.pooler-{alive.name}-0123456789abcdef-1.part"
    (world.top / ".pooler" / f"{dead.name}.journal").write_text(
        f'["site", "/important"]\n["site", "{living}"]\n["", "../.."]\n["", "a"]\n["", "/"]\n[1]\nnonsense\n'
    )
    world.passes(950, alive, heir)
    assert heir.sweep_all() == {dead.name: Swept(0, [])}
    assert world.files() == {"a/f"}


def test_an_end_that_leaves_something_lets_others_begin_at_once(world: World) -> None:
    ended, heir = world.pod(), world.pod()
    name = ended.name
    ended.begin("f")
    ended.tenancy.leave()
    world.passes(60, heir)
    assert heir.gone == [name]
    assert heir.sweep_all() == {name: Swept(1, [])}


def test_a_lease_alone_is_swept_too(world: World) -> None:
    dead, alive = world.pod(), world.pod()
    world.passes(950, alive)
    assert alive.sweep_all() == {dead.name: Swept(0, [])}
    assert world.names() == {f".pooler/{alive.name}.lease"}


def test_the_living_do_not_look_where_their_own_lease_is_lost(world: World) -> None:
    dead, stopped = world.pod(), world.pod()
    world.passes(950, stopped)
    world.now += 31
    assert stopped.tenancy.find_gone() == []
    assert dead.name not in stopped.tenancy.find_gone()


# ---- journals -------------------------------------------------------------------------------------------


@pytest.fixture
def book(tmp_path: Path) -> Journal:
    (tmp_path / ".pooler").mkdir()
    return Journal(tmp_path, "x.journal")


def entries(top: Path) -> list[Entry]:
    return list(read_entries((top / ".pooler" / "x.journal").read_bytes()))


def test_a_folder_is_one_line_and_is_there_before_its_first_part(tmp_path: Path, book: Journal) -> None:
    for number in range(5):
        book.note(Entry("", "a/b"), f"{number}.part")
        assert entries(tmp_path) == [Entry("", "a/b")]
    for number in range(5):
        assert not book.empty
        book.forget(Entry("", "a/b"), f"{number}.part")
    assert book.empty


def test_what_needs_no_flush_is_known_before(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LINES_LIMIT", 3)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    for number in range(12):
        for entry in (Entry("", f"folder-{number % 2}"), Entry("site", f"/{number}.part")):
            is_brief, before = book.is_brief(entry), len(flushed)
            book.note(entry, "p")
            book.forget(entry, "p")
            assert is_brief == (len(flushed) == before)
    assert flushed


def test_it_stays_short_and_keeps_what_is_not_done(
    tmp_path: Path, book: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_LINES_LIMIT", 10)
    kept = [Entry("site", f"/kept-{number}") for number in range(7)]
    for number in range(200):
        if number % 20 == 0 and kept[number // 20 :]:
            book.note(kept[number // 20], "p")
        entry = Entry("", f"folder-{number}")
        book.note(entry, "p")
        book.forget(entry, "p")
        assert len(entries(tmp_path)) <= 21
    assert set(kept) <= set(entries(tmp_path))


def test_names_that_are_no_text_come_back(tmp_path: Path, book: Journal) -> None:
    odd = Entry("", os.fsdecode(b"a\xff/\n\xed\x95\x9c"))
    book.note(odd, "p")
    assert entries(tmp_path) == [odd]


def test_a_line_that_a_crash_cut_is_passed_over(tmp_path: Path, book: Journal) -> None:
    book.note(Entry("", "a"), "p")
    with (tmp_path / ".pooler" / "x.journal").open("ab") as stream:
        stream.write(b'["", "b')
    book.note(Entry("", "c"), "p")
    assert entries(tmp_path) == [Entry("", "a"), Entry("", "c")]


def test_a_full_disk_stops_no_upload(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = world.pod()

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_write", full)
    path = f"/in/.pooler-{pod.name}-0123456789abcdef-1.part"
    pod.root.note(Entry("site", path), path)
    with pytest.raises(LocalFileError) as caught:
        pod.begin("f")
    assert caught.value.code is ErrorCode.DISK_FULL


def test_living_ones_of_a_root_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError):
        LivingOnes(tmp_path / "none").look(0)
