"""rclone, told to look at nothing that it need not look at."""

import subprocess
from collections.abc import Sequence

from benchmarks.field import Field, Way
from benchmarks.peers.peer import timed


def copy(field: Field, way: Way, names: Sequence[str]) -> float:
    server, work = field.server, field.folder / "work"
    secret = subprocess.run(
        ["rclone", "obscure", server.password], check=True, capture_output=True, text=True
    ).stdout.strip()
    section = f"[far]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
    section += f"pass = {secret}\n"
    if server.ca_file is not None:
        section += "explicit_tls = true\n"
    (work / "rclone.conf").write_text(section)
    (work / "rclone.files").write_text("\n".join([*names, ""]))
    ends = ["far:/out", f"{field.local}/in"] if way == "down" else [f"{field.local}/out", "far:/in"]
    words = ["rclone", "copy", *ends, "--config", str(work / "rclone.conf")]
    words += ["--files-from-raw", str(work / "rclone.files"), "--transfers", str(field.sessions)]
    words += [
        "--checkers",
        "1" if way == "up" else str(field.sessions),
        "--no-check-dest",
        "--ignore-checksum",
    ]
    words += ["--ignore-times", "--no-update-modtime", "--retries", "1"]
    words += ["--buffer-size", "0"]
    if server.ca_file is not None:
        # Its --ca-cert is for HTTP alone.
        words = ["env", f"SSL_CERT_FILE={server.ca_file}", *words]
    return timed(field, words)
