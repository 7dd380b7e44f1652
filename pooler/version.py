"""Which version this is."""

import importlib.metadata


def version() -> str:
    """Return the version that is installed; ``unknown`` in a checkout that is not."""
    try:
        return importlib.metadata.version("ftp-pooler")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
