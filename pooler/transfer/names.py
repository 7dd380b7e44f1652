"""The name that a file has until it is whole. Pure.

It tells who wrote it: the incarnation of the process, the job, and which of the process's attempts it is. So
no two writers meet, not even where a job comes back to a process that had given it away, and what the dead
left behind can be told from what the living are writing. It is plain ASCII and short, so that
any server takes it and no limit on names is met.
"""

import hashlib
import secrets

from pooler.model.job import Origin


def incarnation() -> str:
    """Make a name for this process that no other process has, nor this one after a restart."""
    return secrets.token_hex(4)


def temporary_name(origin: Origin, serial: int, process: str) -> str:
    """Make the name of a file on its way.

    Args:
        origin: where the job's record stands.
        serial: which of the process's attempts at any job it is.
        process: this process's ``incarnation()``.
    """
    job = hashlib.blake2b(str(origin).encode(), digest_size=8).hexdigest()
    return f".pooler-{process}-{job}-{serial}.part"
