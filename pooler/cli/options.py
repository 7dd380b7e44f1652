"""Options that several commands share."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pooler.config import Configuration, load
from pooler.errors import ConfigError

_OVERRIDE = re.compile(r"(\w+)\.(\w+)=(.*)", re.DOTALL)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the configuration stands.

    Attributes:
        config: config.yaml; otherwise POOLER_CONFIG, otherwise etc/config.yaml where it exists.
        connections: connections.ini or rclone.conf; otherwise POOLER_CONNECTIONS, otherwise
            etc/connections.ini where it exists.
        overrides: a setting over all else, such as ``-X kafka.client_id=me``; may be repeated.
    """

    config: Path | None = None
    connections: Path | None = None
    overrides: Annotated[tuple[str, ...], Parameter(name="-X", negative="")] = ()

    def load(self) -> Configuration:
        """Read and check both files, with the environment over them.

        Raises:
            ConfigError: with every mistake; `pooler.cli.main` shows them and exits with ``FATAL``.
        """
        return load(self.config, self.connections, self.environment())

    def environment(self) -> dict[str, str]:
        """Make the environment in which each override is a variable of its own.

        Raises:
            ConfigError: an override cannot be meant.
        """
        environment = dict(os.environ)
        for override in self.overrides:
            match = _OVERRIDE.fullmatch(override)
            if match is None:
                raise ConfigError(f"-X {override}: expected SECTION.KEY=VALUE")
            environment[f"POOLER__{match[1]}__{match[2]}".upper()] = match[3]
        return environment


HERE = Files()
"""The files where they stand by default."""
