"""Options that several commands share."""

import os
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from pooler.config import Configuration, load


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the configuration stands.

    Attributes:
        config: config.yaml; otherwise POOLER_CONFIG, otherwise etc/config.yaml where it exists.
        connections: connections.ini or rclone.conf; otherwise POOLER_CONNECTIONS, otherwise
            etc/connections.ini where it exists.
    """

    config: Path | None = None
    connections: Path | None = None

    def load(self) -> Configuration:
        """Read and check both files, with the environment over them.

        Raises:
            ConfigError: with every mistake; `pooler.cli.main` shows them and exits with ``FATAL``.
        """
        return load(self.config, self.connections, os.environ)


HERE = Files()
"""The files where they stand by default."""
