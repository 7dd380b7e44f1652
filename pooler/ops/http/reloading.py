"""What came of reading the configuration again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What came of it, at one pod.

    Attributes:
        done: whether the files were taken; False where they hold mistakes, and then nothing has changed.
        changed: what is in force now, such as ``remote site-b: added`` or ``logging.level: DEBUG``.
        needs_restart: what is written otherwise in the files than it is in force, and stays so until this pod
            is started anew.
        mistakes: what is wrong with the files, with file, line and key; empty where they were taken.
    """

    done: bool
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()
