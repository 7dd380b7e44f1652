"""The sheet of a remote, in Markdown: what both sides agree on before it goes live."""

from collections.abc import Iterator
from datetime import datetime

from pooler.cli.doctor.examining import Examined
from pooler.cli.text import plain


def write(made: Examined, now: datetime) -> str:
    """Write a sheet.

    Args:
        made: what was found.
        now: the time of it.
    """
    remote = made.remote
    return "\n".join(
        [
            *(f"# {remote.name}", "", f"Examined {now.isoformat(timespec='seconds')}.", ""),
            *("| | |", "|---|---|"),
            *(f"| {name} | {_cell(value)} |" for name, value in _rows(made)),
            *("", "## Findings", ""),
            *(f"- {one.status}: {_cell(one.text)}" for one in made.findings),
            *("", "## Signed off", "", "| side | name | date |", "|---|---|---|"),
            *("| ours | | |", "| partner | | |", ""),
        ]
    )


def _rows(made: Examined) -> Iterator[tuple[str, object]]:
    remote, facts = made.remote, made.facts
    yield "server", f"{remote.host}:{remote.port}, {facts.get('server', 'unknown')}"
    yield "addresses", ", ".join(made.addresses)
    yield "account", remote.user
    yield "base path", remote.base_path
    yield "firewall", _firewall(made)
    yield "TLS", _tls(made)
    yield "certificate", facts.get("certificate_sha256")
    yield "certificate ends", facts.get("certificate_not_after")
    yield "session resumed on data connections", facts.get("tls_resumption")
    yield "login takes", f"{facts['login_s']} s" if facts else None
    yield "sessions at most", remote.max_sessions
    yield "charset", remote.charset
    yield "a name in Hangul", facts.get("korean_name", "not tried: --write FOLDER")
    yield "write, rename, remove", facts.get("write", "not tried: --write FOLDER")
    yield "features", ", ".join(facts.get("features") or ())


def _tls(made: Examined) -> str:
    remote, facts = made.remote, made.facts
    if not (remote.tls or remote.explicit_tls):
        return "none"
    mode = "implicit" if remote.tls else "explicit"
    return ", ".join(map(str, filter(None, (mode, facts.get("tls_version"), facts.get("tls_cipher")))))


def _firewall(made: Examined) -> str:
    remote, port = made.remote, made.facts.get("passive_port")
    control = f"from us to {remote.host}:{remote.port}"
    if not remote.passive:
        return f"{control}; from the server to us, for each file"
    seen = "" if port is None else f" (port {port} was seen; ask for the range)"
    return f"{control}, and to the server's passive ports{seen}"


def _cell(value: object) -> str:
    words = "-" if value in (None, "", [], ()) else str(value)
    return plain(words, "utf-8").replace("|", "\\|")
