"""What is in force, for people: each key with its value and where that comes from; secrets are masked."""

from typing import Any

from pooler.config.load import Configuration
from pooler.config.remotes import shown


def described(configuration: Configuration) -> dict[str, Any]:
    """Describe a configuration.

    Returns:
        ``settings`` by section and key, each with its ``value`` and where that is ``from``; ``remotes`` with
        what of each is not left to its default; ``folders``.
    """
    origins = configuration.origins
    settings = {
        section: {
            key: {"value": value, "from": origins.get((section, key), "default")}
            for key, value in keys.items()
        }
        for section, keys in configuration.settings.model_dump(mode="json").items()
    }
    remotes = {remote.name: shown(remote) for remote in configuration.connections.remotes}
    folders = {folder.name: str(folder.path) for folder in configuration.connections.folders}
    return {"settings": settings, "remotes": remotes, "folders": folders}
