"""Where a password comes from: called at each login, and never shown."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from pooler.errors import NoPassword


@dataclass(frozen=True, slots=True)
class FixedPassword:
    """A password that stands in connections.ini, or in the environment."""

    secret: SecretStr

    def __call__(self) -> str:
        """Return the password."""
        return self.secret.get_secret_value()


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """A password that stands in a file of its own, and may change while we run."""

    remote: str
    path: Path

    def __call__(self) -> str:
        """Read the file: its first line is the password.

        Raises:
            NoPassword: it cannot be read, or has no password. A file that is being replaced may be right at
                the next login, so this is no mistake of the configuration's.
        """
        try:
            return read_password(self.path)
        except ValueError as error:
            raise NoPassword(f"{self.remote}.pass_file: {error}") from error


def read_password(path: Path) -> str:
    """Read the first line of a file: a password.

    Raises:
        ValueError: it cannot be read, or has no password; says which.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    password = text.split("\n", 1)[0]
    if not password or not fits_line(password):
        raise ValueError(f"{path} has no password in its first line")
    return password


def fits_line(text: str) -> bool:
    """Whether a text can stand in a command line without ending it (RFC 959 §5.3.1)."""
    return not any(sign in text for sign in "\r\n\0")


def reason(error: Exception) -> str:
    """Say why a file could not be read, without its path."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
