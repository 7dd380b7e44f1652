"""connections.ini as values: the FTP servers and the local folders, by name.

Only keys that are honoured are taken. The other keys of rclone load as long as they ask for nothing, that is,
hold rclone's own default. `pooler.config.inifile` has the format of the file, `pooler.config.ftp_section`
what stands in a section of type ftp.
"""

from collections.abc import Mapping
from pathlib import Path

from pooler.config import inifile
from pooler.config.ftp_section import Format, ftp_remote
from pooler.config.keys import Idle, Keys
from pooler.config.paths import local_folder
from pooler.config.problems import Problems
from pooler.config.remotes import Connections, FtpRemote, LocalFolder
from pooler.config.values import switch

RCLONE_LOCAL_KEYS: Mapping[str, Idle] = {
    "nounc": Idle(switch, default=False),
    "copy_links": Idle(switch, default=False),
    "links": Idle(switch, default=False),
    "skip_links": Idle(switch, default=False),
    "zero_size_links": Idle(switch, default=False),
    "unicode_normalization": Idle(switch, default=False),
    "no_check_updated": Idle(switch, default=False),
    "one_file_system": Idle(switch, default=False),
    "case_sensitive": Idle(switch, default=False),
    "case_insensitive": Idle(switch, default=False),
    "no_preallocate": Idle(switch, default=False),
    "no_sparse": Idle(switch, default=False),
    "no_set_modtime": Idle(switch, default=False),
    "encoding": Idle(str, "Slash,Dot"),
}


def read(
    text: str,
    file: str,
    environ: Mapping[str, str],
    problems: Problems,
    *,
    file_format: Format,
    local_root: Path | None,
) -> Connections:
    """Read the text of connections.ini, or of rclone.conf.

    Args:
        text: the file, decoded.
        file: its path, as mistakes are to name it.
        environ: the environment, for ``${NAME}`` and for the default of ``user``.
        problems: gets the mistakes and warnings, all of them.
        file_format: how ``pass`` is written, and whose default ``encoding`` has.
        local_root: the folder of ``local`` sections without ``base_path``.

    Returns:
        Every section that is without a mistake.
    """
    ends: list[FtpRemote | LocalFolder] = []
    for section in inifile.parse(text, file, problems).values():
        keys = Keys(section, environ, problems)
        end: FtpRemote | LocalFolder | None = None
        match keys.text("type"):
            case "ftp":
                end = ftp_remote(keys, environ, file_format)
            case "local":
                end = _local(keys, local_root)
            case "alias":
                end = _alias(keys)
            case None:
                keys.missing("type", "ftp, local or alias")
            case other:
                keys.mistake(
                    "type", f"{other!r} is not supported by this version: expected ftp, local or alias"
                )
        if end is not None:
            ends.append(end)
    return Connections(*ends)


def _local(keys: Keys, local_root: Path | None) -> LocalFolder | None:
    keys.only(frozenset({"base_path"}), RCLONE_LOCAL_KEYS)
    path = keys.read("base_path", local_folder, local_root)
    if path is None and "base_path" not in keys:
        keys.missing("base_path", "an absolute path here, or transfer.local_root in the configuration")
    return LocalFolder(keys.name, path) if path is not None and keys.whole else None


def _alias(keys: Keys) -> LocalFolder | None:
    keys.only(frozenset({"remote"}), {})
    path = keys.read("remote", local_folder, None)
    if "remote" not in keys:
        keys.missing("remote", "the absolute path of a local folder")
    return LocalFolder(keys.name, path) if path is not None and keys.whole else None
