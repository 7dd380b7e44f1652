from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pooler.config.remotes import Connections, FtpRemote, LocalFolder
from pooler.config.temp_name import TempName
from pooler.errors import ErrorCode, JobError
from pooler.model.job import After, Checksum, Direction, Endpoint, Job, Options, Overwrite, Verify
from pooler.transfer.plan import Plan, plan

DISK = LocalFolder("disk", Path("/disk"))
CONNECTIONS = Connections(
    FtpRemote("top", "h", "u", str),
    FtpRemote("deep", "h", "u", str, base_path="/srv/data"),
    DISK,
    LocalFolder("other", Path("/other")),
)
SETTLED = Options(verify=Verify.SIZE, in_place=False)


def moved(source: str, destination: str, move_to: str) -> Plan:
    from_, to = (Endpoint(*end.split(":", 1)) for end in (source, destination))
    return plan(Job("t", from_, to, Options(after=After.MOVE, move_to=move_to)), CONNECTIONS)


def planned(source: str, destination: str, operation: Direction | None = None) -> Plan:
    from_, to = (Endpoint(*end.split(":", 1)) for end in (source, destination))
    return plan(Job("t", from_, to, operation=operation), CONNECTIONS)


def refused(source: str, destination: str, operation: Direction | None = None) -> tuple[ErrorCode, str]:
    with pytest.raises(JobError) as caught:
        planned(source, destination, operation)
    assert not caught.value.retriable
    return caught.value.code, str(caught.value)


def test_a_download() -> None:
    found = planned("deep:/out/a.bin", "disk:/in/b.bin")
    assert found == Plan(
        Direction.DOWNLOAD,
        "deep",
        "/srv/data/out/a.bin",
        "disk",
        ("in", "b.bin"),
        SETTLED,
        base_path="/srv/data",
    )
    assert found.destination == ("disk", "in/b.bin")


def test_an_upload() -> None:
    found = planned("disk:/in/b.bin", "top:out/a.bin")
    assert found == Plan(Direction.UPLOAD, "top", "/out/a.bin", "disk", ("in", "b.bin"), SETTLED)
    assert found.destination == ("top", "/out/a.bin")


@pytest.mark.parametrize(
    ("path", "remote_path"),
    [
        ("a", "/srv/data/a"),
        ("//a///b", "/srv/data/a/b"),
        ("./a/./b", "/srv/data/a/b"),
        ("a/../b", "/srv/data/b"),
        ("a/b/../../c", "/srv/data/c"),
        ("...", "/srv/data/..."),
        ("..a/b..", "/srv/data/..a/b.."),
        (" ", "/srv/data/ "),
        ("~/a", "/srv/data/~/a"),
        ("-rf", "/srv/data/-rf"),
        ("a\\b", "/srv/data/a\\b"),
        ("받은함/보고서.pdf", "/srv/data/받은함/보고서.pdf"),
    ],
)
def test_a_path_on_the_server(path: str, remote_path: str) -> None:
    assert planned(f"deep:{path}", "disk:x").remote_path == remote_path


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("..", ErrorCode.PATH_OUTSIDE_ROOT),
        ("/../a", ErrorCode.PATH_OUTSIDE_ROOT),
        ("a/../../b", ErrorCode.PATH_OUTSIDE_ROOT),
        ("./../a", ErrorCode.PATH_OUTSIDE_ROOT),
        ("a/../../../srv/data/b", ErrorCode.PATH_OUTSIDE_ROOT),
        ("", ErrorCode.INVALID_JOB),
        ("/", ErrorCode.INVALID_JOB),
        (".", ErrorCode.INVALID_JOB),
        ("a/", ErrorCode.INVALID_JOB),
        ("a/.", ErrorCode.INVALID_JOB),
        ("a/..", ErrorCode.INVALID_JOB),
        ("a/b/..", ErrorCode.INVALID_JOB),
        ("a\nDELE b", ErrorCode.INVALID_JOB),
        ("a\r\nDELE b", ErrorCode.INVALID_JOB),
        ("a\r", ErrorCode.INVALID_JOB),
        ("a\n", ErrorCode.INVALID_JOB),
        ("a\0b", ErrorCode.INVALID_JOB),
    ],
)
@pytest.mark.parametrize("near", [True, False], ids=["local", "remote"])
def test_a_path_that_is_refused_on_either_side(path: str, code: ErrorCode, *, near: bool) -> None:
    bad, good = (f"disk:{path}", "deep:x") if near else (f"deep:{path}", "disk:x")
    for ends in ((bad, good), (good, bad)):
        found, message = refused(*ends)
        assert found is code
        assert not set(message) & set("\r\n\0")


@pytest.mark.parametrize("path", ["..\\a", "a\\..\\b", "a\\..", "a/..\\..\\b", "\\..\\a", "..\\"])
def test_a_backslash_parts_names_on_a_server_but_not_here(path: str) -> None:
    assert refused(f"deep:{path}", "disk:x")[0] is ErrorCode.PATH_OUTSIDE_ROOT
    assert planned("deep:x", f"disk:{path}").local_parts == tuple(path.split("/"))


@pytest.mark.parametrize(
    ("source", "destination", "code", "words"),
    [
        ("none:a", "disk:a", ErrorCode.UNKNOWN_REMOTE, "'none': no such section in connections.ini"),
        ("disk:a", "none:a", ErrorCode.UNKNOWN_REMOTE, "'none': no such section in connections.ini"),
        ("disk:a", "other:a", ErrorCode.INVALID_JOB, "both ends are local folders; one must be"),
        ("top:a", "deep:a", ErrorCode.INVALID_JOB, "both ends are remote servers; one must be"),
        ("top:a", "top:a", ErrorCode.INVALID_JOB, "both ends are remote servers; one must be"),
    ],
)
def test_ends_that_do_not_fit(source: str, destination: str, code: ErrorCode, words: str) -> None:
    found, message = refused(source, destination)
    assert found is code
    assert message.startswith(words)


def test_an_operation_that_is_the_other_one() -> None:
    code, message = refused("top:a", "disk:b", Direction.UPLOAD)
    assert code is ErrorCode.INVALID_JOB
    assert message == "operation is 'upload', but from top:a to disk:b it is 'download'"
    assert planned("top:a", "disk:b", Direction.DOWNLOAD).direction is Direction.DOWNLOAD


def test_a_remote_and_a_folder_never_share_a_destination() -> None:
    up, down = planned("disk:a", "top:x"), planned("top:a", "disk:x")
    assert up.destination != down.destination


PIECES = st.one_of(
    st.sampled_from(["..", ".", "", "/", "\\", "..\\", "\\..", "\r", "\n", "\0", "a", "..a", "a..", " "]),
    st.text(max_size=4),
)
PATHS = st.one_of(st.text(), st.lists(PIECES).map("/".join), st.lists(PIECES).map("".join))


@given(PATHS, PATHS, st.sampled_from(["top", "deep"]), st.booleans())
def test_no_path_leaves_its_root(far: str, near: str, remote: str, up: bool) -> None:  # noqa: FBT001 - drawn
    there, here = Endpoint(remote, far), Endpoint("disk", near)
    job = Job("t", here, there) if up else Job("t", there, here)
    try:
        found = plan(job, CONNECTIONS)
    except JobError:
        return
    base = "/srv/data/" if remote == "deep" else "/"
    assert found.remote_path.startswith(base)
    names = found.remote_path[len(base) :].split("/")
    assert names
    assert found.local_parts
    for name in (*names, *found.local_parts):
        assert name not in {"", ".", ".."}
        assert not set(name) & set("/\r\n\0")
    for name in names:
        assert ".." not in name.split("\\")


@given(st.lists(st.text(min_size=1).filter(lambda name: name not in {".", ".."}), min_size=1))
def test_a_plain_path_stays_as_it_is(names: list[str]) -> None:
    path = "/".join(names)
    assume(not set("".join(names)) & set("/\r\n\0\\*?"))
    assert planned("top:x", f"disk:/{path}").local_parts == tuple(names)
    assert planned(f"top:/{path}", "disk:x").remote_path == f"/{path}"


# ---- where a source is moved to --------------------------------------------------------------------------


def test_a_source_moves_below_the_root_of_its_own_side() -> None:
    found = moved("deep:/out/a", "disk:/a", "done/../gone/a")
    assert (found.moved_path, found.moved_parts) == ("/srv/data/gone/a", None)
    found = moved("disk:/in/a", "deep:/a", "/done/a")
    assert (found.moved_path, found.moved_parts) == (None, ("done", "a"))


@pytest.mark.parametrize(("source", "destination"), [("deep:/out/a", "disk:/a"), ("disk:/out/a", "deep:/a")])
@pytest.mark.parametrize(
    ("move_to", "code"),
    [
        ("/../a", ErrorCode.PATH_OUTSIDE_ROOT),
        ("/done/", ErrorCode.INVALID_JOB),
        ("/done/a\r\nDELE b", ErrorCode.INVALID_JOB),
        ("out//a", ErrorCode.INVALID_JOB),
    ],
)
def test_where_a_source_is_not_moved_to(source: str, destination: str, move_to: str, code: ErrorCode) -> None:
    with pytest.raises(JobError) as caught:
        moved(source, destination, move_to)
    assert caught.value.code is code


# What a remote has a default for


def through(options: Options, *, to: str = "up", **keys: Any) -> Plan:
    """Plan an upload to a remote with such keys, or a download from it."""
    ends = Endpoint("disk", "a"), Endpoint("site", "b/c")
    ends = ends if to == "up" else ends[::-1]
    return plan(Job("t", *ends, options), Connections(FtpRemote("site", "h", "u", str, **keys), DISK))


SUM = Checksum("crc32", "00000000")


@pytest.mark.parametrize(
    ("asked", "default", "found"),
    [
        (Options(), Verify.SIZE, Verify.SIZE),
        (Options(), Verify.NONE, Verify.NONE),
        (Options(), Verify.READ_BACK, Verify.READ_BACK),
        (Options(verify=Verify.NONE), Verify.CHECKSUM, Verify.NONE),
        (Options(verify=Verify.CHECKSUM), Verify.NONE, Verify.CHECKSUM),
        (Options(checksum=SUM), Verify.NONE, Verify.CHECKSUM),
        (Options(checksum=SUM), Verify.READ_BACK, Verify.READ_BACK),
        (Options(checksum=SUM, verify=Verify.READ_BACK), Verify.SIZE, Verify.READ_BACK),
    ],
)
def test_how_a_copy_is_verified(asked: Options, default: Verify, found: Verify) -> None:
    assert through(asked, verify=default).options.verify is found


@pytest.mark.parametrize(
    ("asked", "default", "found"), [(None, True, True), (False, True, False), (True, False, True)]
)
def test_where_the_bytes_go(asked: bool | None, default: bool, found: bool) -> None:  # noqa: FBT001 - a table
    assert through(Options(in_place=asked), in_place=default).options.in_place is found


@pytest.mark.parametrize(
    ("folder", "base_path", "found"),
    [
        ("", "/", "/b"),
        ("", "/srv", "/srv/b"),
        ("tmp", "/", "/b/tmp"),
        ("tmp/x", "/srv", "/srv/b/tmp/x"),
        ("/tmp", "/", "/tmp"),
        ("/tmp", "/srv", "/srv/tmp"),
        ("/", "/", ""),
        ("/", "/srv", "/srv"),
    ],
)
def test_where_temporary_files_are(folder: str, base_path: str, found: str) -> None:
    name = TempName(folder, "{token}")
    assert through(Options(), temp_name=name, base_path=base_path).temporary_folder == found


@pytest.mark.parametrize(
    ("options", "keys", "to", "why"),
    [
        (Options(), {"write_only": True}, "down", "nothing can be fetched"),
        (Options(overwrite=Overwrite.NEVER), {"write_only": True}, "up", "overwrite is never"),
        (Options(after=After.DELETE), {"write_only": True}, "up", "cannot be verified"),
        (Options(after=After.DELETE), {"verify": Verify.NONE}, "up", "the default of site"),
        (Options(verify=Verify.READ_BACK), {"transfer_type": "ascii"}, "up", "ascii"),
    ],
)
def test_what_a_remote_cannot_do(options: Options, keys: dict[str, Any], to: str, why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        through(options, to=to, **keys)
    assert caught.value.code is ErrorCode.INVALID_JOB


def test_a_drop_box_takes_what_asks_for_nothing_else() -> None:
    found = through(Options(verify=Verify.CHECKSUM), write_only=True, in_place=True)
    assert (found.write_only, found.options.in_place) == (True, True)


@pytest.mark.parametrize(("name", "fits"), [("x" * 252, True), ("x" * 253, False), ("보" * 84, True)])
def test_a_marker_has_a_name_too(name: str, fits: bool) -> None:  # noqa: FBT001 - a table
    ends = Endpoint("top", "a"), Endpoint("disk", name)
    job = Job("t", *ends, Options(write_marker=True))
    if fits:
        assert plan(job, CONNECTIONS).local_parts == (name,)
    else:
        with pytest.raises(JobError, match="marker"):
            plan(job, CONNECTIONS)
