"""Folders and files, as connections.ini writes them."""

from pathlib import Path

from pooler.config.passwords import reason
from pooler.config.values import line


def server_folder(text: str) -> str:
    """Read the absolute path of a folder on a server; double slashes and one at its end go.

    Raises:
        ValueError: with what was expected.
    """
    if not line(text).startswith("/") or ".." in text.split("/"):
        raise ValueError(f"expected an absolute path on the server, without '..', got {text!r}")
    return "/" + "/".join(part for part in text.split("/") if part)


def local_folder(text: str) -> Path:
    """Read the absolute path of a folder here, which need not be there yet.

    Raises:
        ValueError: with what was expected.
    """
    path = Path(text)
    if "\0" in text or not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"expected the absolute path of a local folder, got {text!r}")
    return path


def readable_file(text: str) -> Path:
    """Look whether a file can be read: a start that fails is better than a first login that does.

    Raises:
        ValueError: with why it cannot.
    """
    path = Path(text)
    try:
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        raise ValueError(f"{text} cannot be read: {reason(error)}") from None
