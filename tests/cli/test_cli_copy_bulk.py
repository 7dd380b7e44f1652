"""Bulk jobs under `pooler copy`: a job for each file, and one closing result."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.cli import exits
from tests.cli.test_cli_copy import Place, job, section
from tests.support.servers import RunningServer, running_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path / "server") as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, server: RunningServer) -> Place:
    found = Place(tmp_path)
    found.configure(section(server))
    return found


def test_a_folder_is_fetched_and_the_closing_result_comes_last(place: Place, server: RunningServer) -> None:
    for name in ("a.csv", "b.csv", "c.txt", ".hidden.csv", ".pooler-00-0000000000000000-1.part.csv"):
        server.put(f"/out/{name}", name.encode())
    server.put("/out/below/d.csv", b"not entered")
    result = place.copy(
        [
            job("many", "site:/out/*.csv", "local:/in/", after="move:done/"),
            job(2, "site:/out/c.txt", "local:/c"),
        ]
    )
    assert result.code == exits.OK, result
    assert place.files() == {"in/a.csv": b"a.csv", "in/b.csv": b"b.csv", "c": b"c.txt"}
    assert sorted(path.name for path in (server.root / "done").iterdir()) == ["a.csv", "b.csv"]
    assert result.statuses == {
        "many/a.csv": "success", "many/b.csv": "success", "2": "success", "many": "success",
    }  # fmt: skip
    closing = next(line for line in result.lines if line["task_id"] == "many")
    jobs = [line for line in result.lines if line["task_id"].startswith("many/")]
    assert result.lines.index(closing) > max(map(result.lines.index, jobs))
    batch = closing["batch"]
    assert {line["batch_id"] for line in jobs} == {batch["id"]}
    del batch["id"]
    assert batch == {
        "files": 2, "files_bytes": 10, "succeeded": 2, "skipped": 0, "failed": 0, "codes": {},
    }  # fmt: skip
    assert closing["bytes_transferred"] == 10


def test_a_folder_is_sent(place: Place, server: RunningServer) -> None:
    (place.local / "up").mkdir()
    for name in ("x", "y*"):
        (place.local / "up" / name).write_bytes(name.encode())
    (place.local / "up" / "folder").mkdir()
    (place.local / "up" / "link").symlink_to("x")
    result = place.copy([job("many", "local:/up/", "site:/in/{stem}-new{suffix}", delete_source=True)])
    assert result.code == exits.OK, result
    assert {path.name: path.read_bytes() for path in (server.root / "in").iterdir()} == {
        "x-new": b"x", "y*-new": b"y*",
    }  # fmt: skip
    assert sorted(path.name for path in (place.local / "up").iterdir()) == ["folder", "link"]


def test_filters(place: Place, server: RunningServer) -> None:
    for name, size in {
        "a": 5,
        "b": 50,
        "c": 500,
        "old": 5,
        "b.skip": 50,
        "a.done": 0,
        "b.done": 0,
        "old.done": 0,
    }.items():
        server.put(f"/out/{name}", bytes(size))
    long_ago = time.time() - 86_400
    os.utime(server.root / "out" / "old", (long_ago, long_ago))

    def fetched(to: str, **filters: object) -> list[str]:
        result = place.copy([job(to, "site:/out/", f"local:/{to}/", filter=filters)])
        assert result.code == exits.OK, result
        found = sorted(name.partition("/")[2] for name in place.files() if name.startswith(f"{to}/"))
        assert result.lines[-1]["batch"]["files"] == len(found)
        return found

    assert fetched("sized", min_size=5, max_size=50, name=["?", "old"]) == ["a", "b", "old"]
    assert fetched("aged", min_age=3600) == ["old"]
    assert fetched("new", max_age=3600, exclude=["*.done", "*.skip"]) == ["a", "b", "c"]
    assert fetched("marked", marker="{name}.done") == ["a", "b", "old"]
    assert fetched("marked-and-sized", marker="{name}.done", min_size=6, stable_for=0.1) == ["b"]
    assert fetched("none", name="nothing") == []


def test_newer_than_the_destination_is_the_overwrite_of_its_jobs(place: Place, server: RunningServer) -> None:
    server.put("/out/newer", b"newer")
    server.put("/out/older", b"older")
    long_ago = time.time() - 86_400
    os.utime(server.root / "out" / "older", (long_ago, long_ago))
    (place.local / "in").mkdir()
    for name in ("newer", "older"):
        (place.local / "in" / name).write_bytes(b"there")
    os.utime(place.local / "in" / "newer", (long_ago, long_ago))
    result = place.copy([job("many", "site:/out/", "local:/in/", overwrite="if_newer")])
    assert result.code == exits.OK
    assert place.files() == {"in/newer": b"newer", "in/older": b"there"}
    batch = result.lines[-1]["batch"]
    assert (batch["succeeded"], batch["skipped"]) == (1, 1)


def test_some_fail(place: Place, server: RunningServer) -> None:
    server.put("/out/a", b"a")
    server.put("/out/b", b"b")
    (place.local / "in" / "b").mkdir(parents=True)
    result = place.copy([job("many", "site:/out/", "local:/in/")])
    assert result.code == exits.JOBS_FAILED
    assert result.statuses == {
        "many/a": "success",
        "many/b": "DESTINATION_EXISTS",
        "many": "BATCH_INCOMPLETE",
    }
    closing = result.lines[-1]
    assert closing["error_message"] == "1 of 2 jobs failed"
    assert closing["retriable"] is False
    assert closing["batch"]["codes"] == {"DESTINATION_EXISTS": 1}
    assert closing["job"]["src_path"] == "/out/"


@pytest.mark.parametrize(
    ("source", "destination", "options", "code"),
    [
        ("site:/missing/", "local:/in/", {}, "FILE_NOT_FOUND"),
        ("local:/missing/", "site:/in/", {}, "FILE_NOT_FOUND"),
        ("site:/*/a", "local:/in/", {}, "INVALID_JOB"),
        ("site:/out/", "local:/in", {}, "INVALID_JOB"),
        ("site:/../", "local:/in/", {}, "PATH_OUTSIDE_ROOT"),
        ("site:/out/a", "local:/in", {"filter": {}}, "INVALID_JOB"),
        ("site:/out/", "local:/in/", {"checksum": "crc32:00000000"}, "INVALID_JOB"),
        ("site:/out/", "local:/in/", {"filter": {"marker": "done"}}, "INVALID_JOB"),
        ("site:/out/", "local:/in/", {"filter": {"marker": "{name}"}}, "INVALID_JOB"),
        ("site:/out/", "local:/in/", {"filter": {"agee": 1}}, "INVALID_JOB"),
        ("site:/what?", "local:/in", {"literal": True}, "FILE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_spread(
    place: Place, source: str, destination: str, options: dict[str, object], code: str
) -> None:
    result = place.copy([job("it", source, destination, **options)])
    assert (result.statuses, result.code) == ({"it": code}, exits.JOBS_FAILED)


def test_no_file_comes_twice_where_the_folder_takes_several_visits(
    place: Place, server: RunningServer
) -> None:
    # A large record makes for small visits, as each of its jobs is as large.
    names = [f"f{number:04}" for number in range(2_500)]
    folder = server.root / "out"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    many = job("many", "site:/out/f*", "local:/in/", after="delete") | {"metadata": "x" * 1_500}
    result = place.copy([many, job("after", "site:/out/none", "local:/x")])
    assert result.statuses.pop("after") == "FILE_NOT_FOUND"
    answers = [line["task_id"] for line in result.lines if line["task_id"].startswith("many/")]
    assert sorted(answers) == [f"many/{name}" for name in names]
    closing = [line for line in result.lines if line["task_id"] == "many"]
    assert [line["batch"]["succeeded"] for line in closing] == [2_500]
    assert list(folder.iterdir()) == []
