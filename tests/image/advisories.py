"""Asks the advisory service for what is known against the packages of a lock file: ``advisories.py FILE``.

pip-audit does the asking. It takes an answer without a list of advisories for an answer that there are none,
so a mirror of PyPI that has no such list would let everything pass. Therefore an old package is asked for
first, of which there are advisories. Nothing that was not answered passes:

* 0: all packages were asked for, and nothing is known against any of them;
* 1: something is known, and is told;
* 3: NOT AUDITED, with why: the service cannot be reached, has no advisories, or does not know a package.

It needs nothing but Python and pip-audit, since the session that runs it has little else.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

KNOWN, NOT_AUDITED = 1, 3
WITNESS = ("jinja2", "2.4.1")
"""Of this there have been advisories since 2014 (PYSEC-2014-8, CVE-2014-0012)."""
_LOCKED = re.compile(r"^([A-Za-z0-9][\w.-]*)==", re.MULTILINE)


class NotAuditedError(Exception):
    """There is no answer; its text says why."""


def ask(*options: str) -> list[Mapping[str, Any]]:
    """Run pip-audit; give what it says of each package.

    Raises:
        NotAuditedError: it gives no answer.
    """
    command = ("pip-audit", "--disable-pip", "--progress-spinner", "off", "--format", "json", *options)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[Mapping[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1][:300] if lines else f"exit status {done.returncode}"
        raise NotAuditedError(f"the advisory service gave no answer: {said}") from None
    return found


def audit(lock: Path) -> list[str]:
    """Tell what is known against the packages of a lock file, a line each.

    Raises:
        NotAuditedError: not all of them could be asked for.
    """
    name, version = WITNESS
    with tempfile.TemporaryDirectory() as folder:
        witness = Path(folder, "witness.txt")
        witness.write_text(f"{name}=={version}\n", encoding="utf-8")
        if not any(one.get("vulns") for one in ask("--no-deps", "-r", str(witness))):
            raise NotAuditedError(
                f"the advisory service knows nothing against {name} {version}, "
                "of which there are advisories: what answers is a mirror without them, or nobody"
            )
    found = ask("--require-hashes", "-r", str(lock))
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in found if "skip_reason" in one]
    # A marker for another system or another Python leaves some of the file out.
    if skipped or not found:
        raise NotAuditedError("; ".join(skipped) or f"no package of {lock} was asked for")
    return list(_lines(found))


def _lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in found:
        for known in one["vulns"]:
            mended = ", ".join(known["fix_versions"]) or "none"
            yield f"{one['name']} {one['version']}: {known['id']}, mended in {mended}"


def main(lock: Path) -> int:
    """Audit a lock file, and say what came of it."""
    try:
        known = audit(lock)
    except NotAuditedError as error:
        sys.stderr.write(f"NOT AUDITED: {error}\n")
        return NOT_AUDITED
    for line in known:
        sys.stderr.write(f"known: {line}\n")
    count = len(_LOCKED.findall(lock.read_text("utf-8")))
    sys.stdout.write(f"{count} packages in {lock}, {len(known)} advisories\n")
    return KNOWN if known else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
