"""`pooler job import`: what becomes of command lines of rclone and lftp, and of crontabs.

tests/cli/imports has a crontab with what is met in such files, and beside it all that is made of it.
"""

import json
import shlex
import stat
import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pooler.cli import exits, main
from pooler.cli.imports.command import program
from pooler.cli.imports.commands import translate
from pooler.cli.imports.copying import Surroundings, Translation, Untranslated
from pooler.cli.imports.gathered import Gathered, gather
from pooler.cli.imports.reading import Line, Variable, lines
from pooler.cli.imports.shell import Token, tokens
from pooler.config import load
from pooler.config.obscure import obscure
from pooler.config.problems import Problems
from pooler.config.sections import read as read_sections

SAMPLES = Path(__file__).parent / "imports"
RCLONE = "[far]\ntype = ftp\nhost = h\nuser = u\npass = " + obscure("p", b"0" * 16) + "\n"


def read(path: str) -> str:
    if path == "/home/me/.config/rclone/rclone.conf":
        return RCLONE
    if path == "/home/me/script":
        return "open -u u,p h\nset ftp:ssl-allow no\nget /a"
    raise FileNotFoundError(2, "No such file or directory", path)


def translated(line: str, stdin: str | None = None) -> Translation:
    return translate(line, Surroundings({"HOME": "/home/me"}, "/home/me", read, stdin))


def gathered(text: str, *, check: bool = False, system: bool = False) -> Gathered:
    return gather(lines(text, system=system), read, {"HOME": "/home/me"}, check=check)


def only(line: str, stdin: str | None = None) -> tuple[str, str, dict[str, object], dict[str, str]]:
    """Translate a line that has one job, and no part that has none."""
    found = translated(line, stdin)
    assert found.untranslated == []
    [one] = found.copyings
    return one.source, one.destination, dict(one.options), dict(one.remote)


def why(line: str) -> str:
    found = translated(line)
    assert found.copyings == []
    return "; ".join(found.untranslated)


def import_(source: Path | str, folder: Path, *options: str) -> int:
    config = ("--rclone-config", str(SAMPLES / "rclone.conf"))
    return main.main(["job", "import", str(source), str(folder), *config, *options])


def test_a_crontab(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made"
    assert import_(SAMPLES / "crontab", folder) == exits.JOBS_FAILED
    out, err = capsys.readouterr()
    assert err == (SAMPLES / "said.txt").read_text()
    assert out == "10 of 21 lines have 15 jobs\n"
    assert (folder / "connections.ini").read_text() == (SAMPLES / "connections.ini").read_text()
    made = sorted(folder.glob("line-*.jsonl"), key=lambda path: int(path.stem.removeprefix("line-")))
    assert "".join(path.read_text() for path in made) == (SAMPLES / "jobs.jsonl").read_text()
    crontab = (folder / "crontab").read_text().replace(str(folder), "FOLDER").replace(program(), "pooler")
    assert crontab == (SAMPLES / "crontab.made").read_text()


def test_cron_finds_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "my venv" / "python"))
    assert program() == "pooler"
    (tmp_path / "my venv").mkdir()
    (tmp_path / "my venv" / "pooler").touch()
    assert program() == f"'{tmp_path}/my venv/pooler'"


def test_what_is_made_loads_and_can_be_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_(SAMPLES / "crontab", tmp_path)
    connections = tmp_path / "connections.ini"
    passwords = {remote.password() for remote in load(None, connections, {}).connections.remotes}
    assert passwords == {"s3c%ret", "potato", "p"}
    for jobs in tmp_path.glob("*.jsonl"):
        assert main.main(["job", "validate", str(jobs), "--connections", str(connections)]) == exits.OK
    said = capsys.readouterr()
    assert "s3c%ret" not in said.out + said.err


def test_nobody_else_can_read_what_is_made(tmp_path: Path) -> None:
    import_(SAMPLES / "crontab", tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "connections.ini").write_text("mine")
    assert import_(SAMPLES / "crontab", tmp_path) == exits.USAGE
    assert "connections.ini: is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["connections.ini"]
    assert (tmp_path / "connections.ini").read_text() == "mine"


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_(tmp_path / "missing", tmp_path) == exits.USAGE
    assert capsys.readouterr().err == f"{tmp_path}/missing: No such file or directory\n"


def test_where_all_is_translated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\nset -e\nrclone copy site-a:/out/ $OUT\n")
    monkeypatch.setenv("OUT", "/data")  # of another machine: what a line stands for is in its file alone
    assert import_(tmp_path / "script", tmp_path / "made") == exits.JOBS_FAILED
    assert "$OUT is not set here" in capsys.readouterr().err
    (tmp_path / "script").write_text("OUT=/data\nrclone copy site-a:/out/ $OUT\n")
    assert import_(tmp_path / "script", tmp_path / "made") == exits.OK
    assert not (tmp_path / "made" / "crontab").exists()


def test_jobs_that_only_compare(tmp_path: Path) -> None:
    import_(SAMPLES / "crontab", tmp_path, "--check")
    jobs = [json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert len(jobs) == 15
    assert all(job["options"]["check"] is True for job in jobs)


def test_an_rclone_conf_that_nothing_leads_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").write_text("rclone copy site-a:/out /in\n")
    assert main.main(["job", "import", str(tmp_path / "s"), str(tmp_path / "made")]) == exits.JOBS_FAILED
    assert "--rclone-config does" in capsys.readouterr().err


def test_relative_paths_begin_at_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").write_text("rclone copy site-a:/out in\n")
    assert import_(tmp_path / "s", tmp_path / "made") == exits.JOBS_FAILED
    assert "--home says it" in capsys.readouterr().err
    assert import_(tmp_path / "s", tmp_path / "made", "--home", "/srv") == exits.OK
    assert "base_path = /srv" in (tmp_path / "made" / "connections.ini").read_text()


@pytest.mark.parametrize(
    ("line", "source", "destination", "options"),
    [
        ("rclone copy far:a/b /in -u", "/a/b/", "/in/", {"overwrite": "if_newer"}),
        ("rclone copy far:/a.csv /in", "/a.csv", "/in/a.csv", {}),
        ("rclone moveto far:/a /in/b", "/a", "/in/b", {"after": "delete"}),
        ("rclone copyto far:/a/ /in", "/a/", "/in/", {}),
        ("rclone copyto far:/a?b /in/c", "/a?b", "/in/c", {"literal": True}),
        ("rclone copy far:/a /in --ignore-existing=true", "/a/", "/in/", {"overwrite": "never"}),
        ("rclone copy far:/a /in --inplace=false -I", "/a/", "/in/", {"overwrite": "always"}),
        ("rclone copy -n far:/a ~/in", "/a/", "/home/me/in/", {"check": True}),
        ("rclone copy far:/a . --exclude /x", "/a/", "/home/me/", {"filter": {"exclude": ["x"]}}),
        (
            "rclone copy far:/a /in --filter '- a*' --filter '+ *.b' --filter '- *' --min-size 1",
            "/a/", "/in/", {"filter": {"min_size": 1024, "name": ["*.b"], "exclude": ["a*"]}},
        ),
    ],
)  # fmt: skip
def test_rclone(line: str, source: str, destination: str, options: dict[str, object]) -> None:
    always = {"overwrite": "if_different", "preserve_mtime": True}
    assert only(line)[:3] == (source, destination, always | options)


LFTP = "lftp -u u,p -e 'set ftp:ssl-allow no; "


@pytest.mark.parametrize(
    ("line", "source", "destination", "options"),
    [
        (LFTP + "mget -c /o/*.a' h", "/o/*.a", "/home/me/", {"resume": True}),
        (LFTP + "mget /o/[ab].x' h", "/o/", "/home/me/", {"filter": {"name": "[ab].x"}}),
        (LFTP + "mget /o/a' h", "/o/a", "/home/me/a", {}),
        (LFTP + "cd o; mget -E *.a -O in' h", "/o/*.a", "/home/me/in/", {"after": "delete"}),
        (LFTP + "get /o/a -o b' h", "/o/a", "/home/me/b", {}),
        (LFTP + "reget /o/a -o b' h", "/o/a", "/home/me/b", {"resume": True}),
        (LFTP + "reput /o/a' h", "/o/a", "/a", {"resume": True}),
        (LFTP + "get -O /in /o/a' h", "/o/a", "/in/a", {}),
        (LFTP + "get /o/*' h", "/o/*", "/home/me/*", {"literal": True}),
        (LFTP + "set xfer:clobber no; queue put /o/a -o /in/' h", "/o/a", "/in/a", {"overwrite": "never"}),
        (LFTP + "lcd /o; mput -O in *' h", "/o/*", "/in/", {}),
    ],
)
def test_lftp(line: str, source: str, destination: str, options: dict[str, object]) -> None:
    assert only(line)[:3] == (source, destination, {"preserve_mtime": True} | options)


@pytest.mark.parametrize(
    ("words", "source", "destination"),
    [
        # As lftp 4.9 does it.
        ("/out /in/", "/out/", "/in/out/"),
        ("/out/ /in/", "/out/", "/in/"),
        ("/out /in", "/out/", "/in/"),
        ("/out", "/out/", "/home/me/out/"),
        ("-O /in /out", "/out/", "/in/"),
        ("-R /out /in", "/out/", "/in/"),
    ],
)
def test_where_a_mirror_goes(words: str, source: str, destination: str) -> None:
    assert only(LFTP + f"mirror -r {words}' h")[:2] == (source, destination)


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ("ftp:ssl-force true", {"explicit_tls": "true"}),
        ("ftp:ssl-allow off", {}),
        ("ssl-force on", {"explicit_tls": "true"}),
        ("ftp:ssl-force/h.example.com yes", {"explicit_tls": "true"}),
        ("ftp:ssl-allow no; set passive-mode no", {"passive": "false"}),
        ("ftp:ssl-allow no; set ftp:charset cp949", {"charset": "cp949"}),
        ("ftp:ssl-force 1; set ssl:ca-file /ca", {"explicit_tls": "true", "ca_file": "/ca"}),
        ("ftp:ssl-allow 0; set net:limit-rate 1000:1000", {"bandwidth": "1000B"}),
        ("ftp:ssl-allow 0; set net:limit-rate 10M:0; set cmd:fail-exit 1", {"bandwidth": "10M"}),
        ("ftp:ssl-allow 0; set net:connection-limit 3; set ftp:list-options -a",
         {"max_sessions": "3", "force_list_hidden": "true"}),
    ],
)  # fmt: skip
def test_settings_of_lftp(settings: str, keys: dict[str, str]) -> None:
    found = translated(f"lftp -u u,p -e 'set {settings}; get /a' h")
    assert (found.untranslated, found.notes) == ([], [])
    assert found.copyings[0].remote == {"host": "h", "user": "u", "pass": "p"} | keys


def test_tls_is_asked_for_where_lftp_would_have_taken_it() -> None:
    found = translated("lftp -u u,p -e 'get /a' h")
    assert found.copyings[0].remote["explicit_tls"] == "true"
    assert found.notes[0].startswith("lftp uses TLS where the server has it")


@pytest.mark.parametrize(
    ("line", "stdin", "keys"),
    [
        ("lftp ftp://a%40b:c%2Fd@h:2121", "get /a", {"user": "a@b", "pass": "c/d", "port": "2121"}),
        ("lftp -u a,b,c -p 2121 h", "get /a", {"user": "a", "pass": "b,c", "port": "2121"}),
        ("LFTP_PASSWORD=x lftp --env-password -u a h", "get /a", {"user": "a", "pass": "x"}),
        ("lftp", "open -u a,x h\nget /a", {"user": "a", "pass": "x"}),
        ("lftp h", "user a x\nget /a", {"user": "a", "pass": "x"}),
        ("lftp h", "get /a", {"user": "anonymous"}),
        ("lftp -f script", None, {"user": "u", "pass": "p"}),
        ("lftp -c 'open -u a,x -e \"get /a\" h'", None, {"user": "a", "pass": "x"}),
    ],
)
def test_accounts(line: str, stdin: str | None, keys: dict[str, str]) -> None:
    remote = only(line, stdin)[3]
    remote.pop("explicit_tls", None)
    assert remote == {"host": "h"} | keys


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rclone copy far:/a /b --transfers many", "--transfers: expected a number"),
        ("rclone copy far:/a /b --bwlimit '08:00,512 12:00,10M'", "--bwlimit: one number"),
        ("rclone copy far:/a /b --max-age 2026-01-01", "--max-age: expected a duration"),
        ("rclone copy far:/a /b --max-size huge", "--max-size: expected a size"),
        ("rclone copy far:/a /b --max-depth 2", "expected 1"),
        ("rclone copy far:/a /b --include 'x/**'", "a pattern with folders"),
        ("rclone copy far:/a /b --filter 'x'", "--filter: expected + or -"),
        ("rclone copy far:/a /b --filter '+ a' --filter '- b' --filter '- *'", "one filter has no order"),
        ("rclone copy far:/a /b --size-only", "nothing is kept because its size alone"),
        ("rclone copy far:/a", "expected a source and a destination"),
        ("rclone copy :ftp,host=h:/a /b", "described on the spot"),
        ("rclone copy far,passive=false:/a /b", "described on the spot"),
        ("rclone copy far:/a /b --config /nowhere", "/nowhere: No such file or directory"),
        ("rclone", "no command"),
        ("lftp h", "no command of it copies files"),
        ("lftp -e 'get /a'", "no server is named"),
        ("lftp -e 'get /a' ftp://", "cannot be read"),
        ("lftp -f /nowhere", "/nowhere: No such file"),
        ("lftp -e 'source x' h", "import that with lftp -f"),
        ("lftp -e '(get a)' h", "lftp's `(`"),
        ("lftp -e 'cd x; set ftp:proxy http://u:p@h; glob get *' h", "set: ftp:proxy: http_proxy"),
        ("lftp -e 'mirror --older-than=/a/file x' h", "expected such as now-7days"),
        ("lftp -e 'set net:limit-rate 1:2' h", "one number for both directions"),
        ("lftp -e 'mget -d */x' h", "-d: each folder takes a job of its own"),
        ("lftp -e 'get' h", "get: expected a file"),
        ('lftp -e "get a h', 'a " has no other one that ends it'),
        ("lftp < script", "the shell's `<`"),
        ("bash /usr/local/bin/copy.sh", "its lines stand in a file: import that"),
        ("if true; then rclone copy far:/a /b; fi", "the shell's `if`"),
        ("sudo --unknown rclone copy far:/a /b", "sudo: option --unknown not recognized"),
        ("X='a b'; rclone copy far:/a $X", "more than one word"),
        ("rclone copy far:/a ~other/x", "--home says it"),
        ("rclone copy far:/a '/{a,b}' --include '{1,2}{3,4}{5,6}{7,8}{9,0}{a,b}{c,d}'", "more than 100"),
    ],
)
def test_what_is_not_translated_says_why(line: str, said: str) -> None:
    assert said in why(line)


@pytest.mark.parametrize(
    "line",
    [
        "/usr/bin/rclone copy far:/a /b",
        "flock -n /l rclone copy far:/a /b",
        "flock /l -c 'rclone copy far:/a /b'",
        "sh -c 'cd /tmp; rclone copy far:/a /b' >/dev/null 2>&1 &",
        "nice -n 10 ionice -c2 -n7 timeout -k 5 600 rclone copy far:/a /b || exit 1",
        "test -d /b && rclone copy far:/a /b | logger -t rclone",
        "sudo -u me env A=b rclone copy far:/a /b 2>> /var/log/x",
        'export B=/b; rclone copy far:/a "${B}" # and a comment',
        "set -eu; B='/b' ; exec rclone copy far:/a $B",
    ],
)
def test_what_stands_around_a_command(line: str) -> None:
    assert only(line)[:2] == ("/a/", "/b/")


def test_a_script_of_lftp_in_a_script() -> None:
    script = "lftp -u u,p h <<EOF\nset ftp:ssl-allow no\nmget /a/*\nEOF\nrclone copy \\\n far:/a /b\n"
    found = gathered(script)
    assert [(one.line.number, len(one.jobs), one.untranslated) for one in found.lines] == [
        (1, 1, ()),
        (5, 1, ()),
    ]


def test_a_script_of_lftp_that_the_shell_changes() -> None:
    [one] = gathered("lftp -u u,p h <<EOF\nget $FILE\nEOF\n").lines
    assert (one.jobs, one.untranslated) == ((), ("the shell's `<<`",))


def test_a_crontab_of_the_system_names_users() -> None:
    text = "17 * * * * root rclone copy far:/a /b\n@daily me rclone copy far:/a /b\n"
    assert [len(one.jobs) for one in gathered(text, system=True).lines] == [1, 1]
    assert [one.untranslated[0] for one in gathered(text).lines] == [
        "root: only rclone and lftp are known",
        "me: only rclone and lftp are known",
    ]


def test_a_remote_that_is_called_as_a_local_folder_is() -> None:
    found = gathered("lftp -u u,p -e 'get /a' local\n")
    assert {name: keys["type"] for name, keys in found.sections.items()} == {
        "local-2": "ftp",
        "local": "local",
    }
    assert found.lines[0].jobs[0]["src_id"] == "local-2"


@given(st.text(string.ascii_letters + string.digits + " \t'\"\\$`#;%@:/{}*,-=.~", max_size=60))
@example("${x}$${y}${")
@example("`x`")
@example(' "')
def test_a_password_comes_through(password: str) -> None:
    quoted = "'" + password.replace("'", "'\\''") + "'"
    found = gathered(f"lftp -u u,{quoted} -e 'get /a' h\n")
    text = found.connections()
    assert loaded_password(text) == password


def loaded_password(text: str) -> str:
    """Read connections.ini as the service does, and give the password of its first remote."""
    problems = Problems()
    connections = read_sections(text, "f", {}, problems, file_format="plain", local_root=None)
    assert problems.mistakes == ()
    return connections.remotes[0].password()


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(WORDS, max_size=6))
def test_quoted_words_are_read_as_the_shell_reads_them(words: list[str]) -> None:
    assert list(tokens(" ".join(map(shlex.quote, words)), {})) == [Token(word) for word in words]


@given(st.text(max_size=120))
@example("lftp -e 'mirror -R --parallel= ;;& ' x")
@example("* * * * * %%\\")
@example("rclone copy {a,b}:{c /d")
def test_any_text_has_an_answer(text: str) -> None:
    found = gathered(text)
    for one in found.lines:
        assert isinstance(one.line, Line)
    assert isinstance(found.connections(), str)


GRAMMAR = st.lists(
    st.sampled_from(
        [
            "rclone", "copy", "sync", "far:/a", "far:", "/b", "--include", "*.{a,b}", "-P", "--transfers",
            "4", "lftp", "-e", "-u", "u,p", "h", "'mget /a/*'", "'mirror /a /b; put x -o y'", ";", "|", "&&",
            ">", "2>&1", "flock", "-n", "/l", "cd", "$HOME", "~", "--filter", "'- *'", "'+ a'", "sh", "-c",
            "%",
        ]
    ),
    max_size=14,
)  # fmt: skip


@given(GRAMMAR)
def test_a_line_is_translated_or_says_why_not(words: list[str]) -> None:
    found = gathered(" ".join(words))
    for one in found.lines:
        for job in one.jobs:
            assert str(job["src_path"]).startswith("/")
            assert str(job["dst_path"]).startswith("/")
            assert {job["src_id"], job["dst_id"]} <= found.sections.keys()


@given(st.text("0123456789*/,- @%\\abAB=\n", max_size=60), st.booleans())
def test_lines_are_numbered_as_they_stand(text: str, system: bool) -> None:  # noqa: FBT001 - given by Hypothesis
    numbers = [one.number for one in lines(text, system=system) if not isinstance(one, Variable)]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= text.count("\n") + 1 for number in numbers)


def test_a_quote_that_does_not_end() -> None:
    with pytest.raises(Untranslated, match="has no other one"):
        list(tokens("a 'b", {}))
