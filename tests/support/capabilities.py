"""Measures what real FTP servers do and prints it as the table of docs/ftp-servers.md.

``python -m tests.support.capabilities`` prints it, ``--write`` puts it there. Each question is asked of each
server plain, in TLS 1.2 and in TLS 1.3, each time of a server that has just begun; an answer that is not the
same in all three says where it is which. What changes from one machine or day to the next is kept out.

Neighbours: ``servers`` runs them, ``raw_ftp`` talks to them.
"""

import argparse
import gzip
import importlib.metadata
import os
import re
import socket
import ssl
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from tests.support.install import ROOT, cache
from tests.support.raw_ftp import RawFtp, Said
from tests.support.servers import KINDS, Kind, RunningServer, running_server

DOCS = ROOT / "docs" / "ftp-servers.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"

SETTINGS: Mapping[str, ssl.TLSVersion | None] = {
    "plain": None,
    "TLS 1.2": ssl.TLSVersion.TLSv1_2,
    "TLS 1.3": ssl.TLSVersion.TLSv1_3,
}
CONTENT = bytes(range(256)) * 4
# More than the sockets of both sides hold, so that a transfer is sure to run while something else is asked.
LARGE_BYTES = 24_000_000
SILENCE_S = 2.0
LONG_AGO = "20200102030405"
LONG_AGO_S = 1577934245

NO_TLS = "no TLS"
_FEATURES_OF_TLS = frozenset({"AUTH", "CCC", "PBSZ", "PROT", "SSCN"})

Question = Callable[[RawFtp], str]


def _code(said: Said) -> str:
    return {-1: "silence", 0: "end"}.get(said.code, str(said.code))


def _asks(*lines: str) -> Question:
    """The code of the last of some commands."""
    return lambda ftp: [_code(ftp.ask(line)) for line in lines][-1]


def _listed(ftp: RawFtp) -> set[str]:
    return {line.split()[0] for line in ftp.ask("FEAT").text.splitlines()[1:-1] if line.strip()}


def _features(ftp: RawFtp) -> str:
    return " ".join(sorted(_listed(ftp) - _FEATURES_OF_TLS)) or "none"


def _features_of_tls(ftp: RawFtp) -> str:
    return " ".join(sorted(_listed(ftp) & _FEATURES_OF_TLS)) or NO_TLS


def _facts(ftp: RawFtp) -> str:
    said = ftp.ask("MLST /file")
    if said.code >= 300:
        return _code(said)
    facts = said.text.splitlines()[1].strip().partition(" ")[0].lower()
    return f"{said.code}: {' '.join(sorted(fact.partition('=')[0] for fact in facts.split(';') if fact))}"


def _active(verb: str) -> Question:
    def ask(ftp: RawFtp) -> str:
        with socket.create_server((ftp.server.host, 0)) as listener:
            port = listener.getsockname()[1]
            eprt = f"EPRT |1|{ftp.server.host}|{port}|"
            numbers = ",".join([*ftp.server.host.split("."), str(port // 256), str(port % 256)])
            return _code(ftp.ask(eprt if verb == "EPRT" else f"PORT {numbers}"))

    return ask


def _size_of_text(ftp: RawFtp) -> str:
    ftp.ask("TYPE A")
    said = ftp.ask("SIZE /file")
    right = said.code == 213 and said.text.split()[-1] == str(len(CONTENT))
    return f"{_code(said)}{', of the bytes' if right else ''}"


def _sets_time(command: str) -> Question:
    def ask(ftp: RawFtp) -> str:
        os.utime(ftp.server.root / "file", (1, 1))
        said = ftp.ask(command)
        is_set = (ftp.server.root / "file").stat().st_mtime == LONG_AGO_S
        return f"{_code(said)}{', sets it' if is_set else ''}"

    return ask


def _sums(ftp: RawFtp) -> str:
    verbs = ("HASH", "MD5", "XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512")
    return " ".join(verb for verb in verbs if ftp.ask(f"{verb} /file").code in {213, 250, 251}) or "none"


def _restarted_download(ftp: RawFtp) -> str:
    asked = ftp.ask("REST 1000")
    moved = ftp.move("RETR /file")
    return f"{_code(asked)}, {moved.code}, {'the rest' if moved.data == CONTENT[1000:] else 'all of it'}"


def _restarted_upload(ftp: RawFtp) -> str:
    asked = ftp.ask("REST 1000")
    moved = ftp.move("STOR /file", b"end")
    ends = {
        CONTENT[:1000] + b"end": "the file ends there",
        CONTENT[:1000] + b"end" + CONTENT[1003:]: "what follows stays",
    }
    return f"{_code(asked)}, {moved.code}, {ends[(ftp.server.root / 'file').read_bytes()]}"


def _restart_behind_a_refusal(ftp: RawFtp) -> str:
    ftp.ask("REST 1000")
    ftp.move("RETR /missing")
    moved = ftp.move("RETR /file")
    return {CONTENT: "forgotten", CONTENT[1000:]: "kept"}[moved.data]


def _renamed_over(ftp: RawFtp) -> str:
    ftp.ask("RNFR /file")
    said = ftp.ask("RNTO /other")
    replaced = (ftp.server.root / "other").read_bytes() == CONTENT
    return f"{_code(said)}, {'replaced' if replaced else 'kept'}"


def _in_one_write(ftp: RawFtp) -> str:
    ftp.say("SIZE /file", "RNFR /file", "RNTO /moved", "EPSV")
    return " ".join(_code(ftp.hear(SILENCE_S)) for _ in range(4))


def _behind(command: str) -> Question:
    """What comes, in its order, when a command stands behind a download that runs."""

    def ask(ftp: RawFtp) -> str:
        with ftp.moving("RETR /large") as data:
            ftp.hear()
            got = len(data.recv(1))
            ftp.say(command)
            try:
                while more := data.recv(1 << 20):
                    got += len(more)
            except OSError:
                pass
        codes = " ".join(_code(ftp.hear(SILENCE_S)) for _ in range(2))
        return f"{codes}{'' if got == LARGE_BYTES else ', the data is cut'}"

    return ask


def _reset_upload(ftp: RawFtp) -> str:
    """What a server keeps of an upload whose data connection is reset."""
    with ftp.connect() as plain:
        ftp.say("STOR /up")
        with ftp.secure(plain) as data:
            data.sendall(CONTENT)
            ftp.hear()
            data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket(fileno=data.detach()).close()
    ftp.hear(SILENCE_S)
    return "a part" if (ftp.server.root / "up").exists() else "nothing"


def _lists(command: str) -> Question:
    def ask(ftp: RawFtp) -> str:
        moved = ftp.move(command)
        if moved.code >= 300:
            return str(moved.code)
        others = [line for line in moved.data.splitlines() if not re.search(rb"type=[cp]dir;", line.lower())]
        return f"{moved.code}, {'entries' if others else 'itself' if moved.data else 'nothing'}"

    return ask


def _shows_hidden(command: str) -> Question:
    def ask(ftp: RawFtp) -> str:
        ftp.ask("CWD /folder")
        moved = ftp.move(command)
        return ("yes" if b".hidden" in moved.data else "no") if moved.code < 300 else str(moved.code)

    return ask


def _keeps(name: bytes, path: bytes = b"") -> Question:
    """Under which name an upload arrives."""

    def ask(ftp: RawFtp) -> str:
        moved = ftp.move(b"STOR /empty/" + (path or name), b"x")
        found = [os.fsencode(entry.name) for entry in (ftp.server.root / "empty").iterdir()]
        if moved.code >= 300:
            return str(moved.code)
        return "kept" if found == [name] else f"becomes {ascii(found[0])[1:]}" if found else "goes elsewhere"

    return ask


def _transfer(command: str, send: bytes | None = None) -> Question:
    return lambda ftp: str(ftp.move(command, send).code)


def _unresumed(ftp: RawFtp) -> str:
    return NO_TLS if ftp.context is None else str(ftp.move("RETR /file", resume=False).code)


def _resumed(ftp: RawFtp) -> str:
    if ftp.context is None:
        return NO_TLS
    return "yes" if ftp.move("RETR /file").resumed else "no"


def _close_notify(ftp: RawFtp) -> str:
    if ftp.context is None:
        return NO_TLS
    return "yes" if ftp.move("RETR /file").closed_in_order else "no"


def _handshake_first(ftp: RawFtp) -> str:
    """Whether a data connection shakes hands before RETR was sent."""
    if ftp.context is None:
        return NO_TLS
    with ftp.connect() as plain:
        plain.settimeout(SILENCE_S)
        try:
            ftp.secure(plain).close()
        except TimeoutError:
            return "no"
        except OSError:
            return "cut"
    return "yes"


QUESTIONS: Mapping[str, Question] = {
    "FEAT": _features,
    "FEAT, of TLS": _features_of_tls,
    "`SYST`": lambda ftp: ftp.ask("SYST").text,
    "`OPTS UTF8 ON`": _asks("OPTS UTF8 ON"),
    "`EPSV`": _asks("EPSV"),
    "`PASV`": _asks("PASV"),
    "`EPRT`": _active("EPRT"),
    "`PORT`": _active("PORT"),
    "`MLST`, with its facts": _facts,
    "`MLSD`": _lists("MLSD /folder"),
    "`SIZE`": _asks("SIZE /file"),
    "`SIZE` in ASCII mode": _size_of_text,
    "`MDTM`": _asks("MDTM /file"),
    "`MFMT`": _sets_time(f"MFMT {LONG_AGO} /file"),
    "`MDTM` with a time": _sets_time(f"MDTM {LONG_AGO} /file"),
    "`SITE UTIME`, the time first": _sets_time(f"SITE UTIME {LONG_AGO} /file"),
    "`SITE UTIME`, times behind": _sets_time(f"SITE UTIME /file {LONG_AGO} {LONG_AGO} {LONG_AGO} UTC"),
    "`REST` and `RETR`": _restarted_download,
    "`REST` and `STOR`": _restarted_upload,
    "a `REST` before a refused `RETR` is": _restart_behind_a_refusal,
    "checksums": _sums,
    "`RNTO` onto a file": _renamed_over,
    "`SIZE`, `RNFR`, `RNTO`, `EPSV` in one write": _in_one_write,
    "`NOOP` behind a running `RETR`": _behind("NOOP"),
    "`SIZE` behind it": _behind("SIZE /file"),
    "`EPSV` behind it": _behind("EPSV"),
    "`ABOR` behind it": _behind("ABOR"),
    "an upload that is reset leaves": _reset_upload,
    "`STOR` into a missing folder": _transfer("STOR /missing/file", b"x"),
    "`RETR` of a missing file": _transfer("RETR /missing"),
    "`RETR` of a folder": _transfer("RETR /folder"),
    "`SIZE` of a missing file": _asks("SIZE /missing"),
    "`SIZE` of a folder": _asks("SIZE /folder"),
    "`MDTM` of a missing file": _asks("MDTM /missing"),
    "`DELE` of a missing file": _asks("DELE /missing"),
    "`RNFR` of a missing file": _asks("RNFR /missing"),
    "`CWD` into a missing folder": _asks("CWD /missing"),
    "a second `MKD`": _asks("MKD /made", "MKD /made"),
    "`LIST` of an empty folder": _lists("LIST /empty"),
    "`LIST` of a missing folder": _lists("LIST /missing"),
    "`MLSD` of an empty folder": _lists("MLSD /empty"),
    "`MLSD` of a missing folder": _lists("MLSD /missing"),
    "`.hidden` in `LIST`": _shows_hidden("LIST"),
    "`.hidden` in `LIST -a`": _shows_hidden("LIST -a"),
    "`.hidden` in `MLSD`": _shows_hidden("MLSD"),
    "a space in front of a name": _keeps(b" name"),
    "a space behind a name": _keeps(b"name "),
    "a name that is no UTF-8 (0xE9)": _keeps(b"\xe9t\xe9"),
    "a name with 0xFF": _keeps(b"a\xffb"),
    "a name with 0xFF, sent doubled": _keeps(b"a\xffb", b"a\xff\xffb"),
    "a data connection that resumes no session": _unresumed,
    "a data connection can resume the session": _resumed,
    "its handshake comes before `RETR`": _handshake_first,
    "its end has a close_notify": _close_notify,
}


def measure(kind: Kind, setting: str) -> list[str]:
    """Ask one server everything, each question on a session and in folders of its own."""
    version = SETTINGS[setting]
    with (
        tempfile.TemporaryDirectory(prefix="pooler-capabilities-") as folder,
        running_server(kind, Path(folder), tls=version is not None) as server,
    ):
        return [_ask(question, server, version) for question in QUESTIONS.values()]


def _ask(question: Question, server: RunningServer, version: ssl.TLSVersion | None) -> str:
    for path, data in {"file": CONTENT, "other": b"other", "folder/.hidden": b"", "folder/a": b""}.items():
        server.put(path, data)
    with server.put("large").open("r+b") as large:
        large.truncate(LARGE_BYTES)
    empty = server.make_folder("empty")
    ftp = RawFtp(server, version)
    try:
        return question(ftp)
    finally:
        ftp.close()
        for entry in empty.iterdir():
            entry.unlink()


def column(kind: Kind) -> list[str]:
    """Ask one server everything in all settings; give its cells of the table."""
    with ThreadPoolExecutor(len(SETTINGS)) as pool:  # most of it is waiting
        answers = dict(zip(SETTINGS, pool.map(measure, repeat(kind), SETTINGS), strict=True))
    return [_cell({setting: answers[setting][at] for setting in SETTINGS}) for at in range(len(QUESTIONS))]


def _cell(answers: Mapping[str, str]) -> str:
    told = {setting: answer for setting, answer in answers.items() if answer != NO_TLS}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    if told["TLS 1.2"] == told["TLS 1.3"]:
        told = {"plain": told["plain"], "TLS": told["TLS 1.2"]}
    return "; ".join(f"{setting}: {answer}" for setting, answer in told.items())


def version(kind: Kind) -> str:
    """Say which version of a server this is: of its Debian package, or of its distribution."""
    if kind == "pyftpdlib":
        return importlib.metadata.version("pyftpdlib")
    changes = sorted((cache() / "servers" / kind / "usr" / "share" / "doc").glob("*/changelog.Debian.gz"))
    with gzip.open(changes[0], "rt") as lines:
        found = re.search(r"\((?:\d+:)?(\d+(?:\.\d+)+)", next(lines))
    assert found is not None
    return found[1]


def table() -> list[str]:
    """Ask all servers everything; give the lines of the table."""
    head = ["", *(f"{kind} {version(kind)}" for kind in KINDS)]
    rows = zip(QUESTIONS, *map(column, KINDS), strict=True)
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def documented() -> Mapping[Kind, Mapping[str, str]]:
    """Read the table of the docs: server → question → cell."""
    text = DOCS.read_text()
    lines = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].splitlines()[2:]
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return {kind: {row[0]: row[at] for row in rows} for at, kind in enumerate(KINDS, start=1)}


def main() -> None:
    """Print the table, or write it into the docs."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.capabilities", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCS.relative_to(ROOT)}")
    arguments = parser.parse_args()
    measured = "".join(f"{line}\n" for line in table())
    if not arguments.write:
        sys.stdout.write(measured)
        return
    before, _, rest = DOCS.read_text().partition(BEGIN)
    DOCS.write_text(before + BEGIN + measured + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
