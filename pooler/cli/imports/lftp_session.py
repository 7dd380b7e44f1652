"""What holds in a session of lftp's, while its commands are followed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pooler.cli.imports import lftp_settings
from pooler.cli.imports.copying import (
    FROM_ROOT,
    Copying,
    Surroundings,
    Translation,
    Untranslated,
    joined,
)

_NO_PASSWORD = "no password stands here: give the remote a pass_file"  # noqa: S105 - a note


@dataclass(slots=True)
class Session:
    """What holds for the command that is next.

    Attributes:
        around: what lftp finds around it; ``lcd`` changes its folder.
        found: gets what is copied.
        remote: the keys of the server that is open.
        settings: further keys, of any server.
        options: of jobs.
        cwd: the folder on the server that relative paths begin at.
    """

    around: Surroundings
    found: Translation
    remote: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    cwd: str = "/"

    def far(self, path: str) -> str:
        """Give a path on the server."""
        if not path.startswith(("/", "~/")) and self.cwd == "/":
            self.found.note(FROM_ROOT)
        return joined(self.cwd, path.removeprefix("~"))

    def copies(self, source: str, destination: str, options: Mapping[str, Any], *, upload: bool) -> None:
        """Note what is copied.

        Raises:
            Untranslated: no server is open.
        """
        if "host" not in self.remote:
            raise Untranslated("no server is named: a bookmark, or open, is not known here")
        keys = {**self.remote, **self.settings}
        keys.update(lftp_settings.tls(keys, self.found))
        if not keys.get("pass") and keys.get("user") != "anonymous":
            self.found.note(_NO_PASSWORD)
        self.found.copyings.append(
            Copying(keys, keys["host"], upload, source, destination, {**self.options, **options})
        )
