"""What sessions find out about their server, kept for the next ones. Pure.

What the server says of itself (`features`) is a hint; what was found here by trying counts more. Nothing of
it is kept beyond the connector: a server that was mended is believed again after a restart.

Neighbours: `connector` owns it, whatever speaks to the server asks it and adds to it.
"""

import enum
from datetime import timedelta

from pooler.ftp.features import Features
from pooler.ftp.folders import KnownFolders
from pooler.ftp.times import MINUTE, TimeSetting

Plain = bool | int | str | list[str] | None
"""What can be shown to anybody: in JSON, on a terminal."""


class Entering(enum.Enum):
    """How CWD gets into a folder, where paths are not sent whole."""

    PATHS = "by its whole path"
    STEPS_FROM_ROOT = "name by name, from /"
    STEPS_FROM_LOGIN = "name by name, from the folder of the login"


class Ability(enum.StrEnum):
    """Something that a server can do or not, which only a try tells for sure."""

    EPSV = "epsv"
    EPRT = "eprt"
    MLST = "mlst"
    MLSD = "mlsd"
    SIZE = "size"
    MDTM = "mdtm"
    MFMT = "mfmt"
    REST = "rest"
    NOOP_BESIDE = "noop_beside_transfer"
    TOGETHER = "commands_together"
    PORT_AHEAD = "port_ahead"
    DATA_AHEAD = "data_ahead"
    ASKED_ALONG = "asked_along"
    HASH = "hash"
    RENAME = "rename"
    RENAME_OVER = "rename_over"
    TLS_RESUMPTION = "tls_resumption"
    UTF8 = "utf8"


class Learnt:
    """What sessions on one remote have found out, for the ones after them.

    Attributes:
        features: what it says of itself; None before it was asked.
        folders: folders that exist.
        active_turn: how many ports of the range for active mode were tried so far, in turn.
        time_setting: the way to set a file's time that has worked; None for none so far.
        time_settings_refused: the ways that it does not know.
        checksums_refused: commands for checksums that it lists and does not do; with HASH and the algorithm.
        entering: how CWD has got into a folder; None where nothing has shown it so far.
        zone: what times of LIST are ahead of UTC, found by one file; None where it was not found.
        zone_trials: how many files were asked about for that.
        tls_version: of the newest login; None without TLS.
        tls_cipher: of the newest login; None without TLS.
        tls_weakness: what is weak about them, in words; None where nothing is.
        tls_group: of the keys that it is offered, since it has asked for it; None for OpenSSL's choice.
        tls_group_failed: whether a handshake has failed with it: then none is offered alone any more.
    """

    def __init__(self) -> None:
        self.features: Features | None = None
        self.folders = KnownFolders()
        self.active_turn = 0
        self.time_setting: TimeSetting | None = None
        self.time_settings_refused: set[TimeSetting] = set()
        self.checksums_refused: set[tuple[str, str | None]] = set()
        self.entering: Entering | None = None
        self.zone: timedelta | None = None
        self.zone_trials = 0
        self.tls_version: str | None = None
        self.tls_cipher: str | None = None
        self.tls_weakness: str | None = None
        self.tls_group: str | None = None
        self.tls_group_failed = False
        self._abilities: dict[Ability, bool] = {}

    def __repr__(self) -> str:
        return f"<Learnt {self.snapshot()}>"

    @property
    def listed(self) -> Features:
        """What the server says of itself; nothing, before it was asked."""
        return self.features or Features()

    def works(self, ability: Ability) -> bool | None:
        """Whether it was found to work; None where that was not tried."""
        return self._abilities.get(ability)

    def found(self, ability: Ability, *, works: bool) -> None:
        """Remember what a try has shown. The newest counts."""
        self._abilities[ability] = works

    def handshake_failed(self) -> None:
        """A handshake has failed, and the one group that was offered may be to blame."""
        if self.tls_group is not None:
            self.tls_group, self.tls_group_failed = None, True

    def snapshot(self) -> dict[str, Plain]:
        """Give all of it for the operator: plain values, and no later change shows in them."""
        listed = self.listed
        return {
            "server": " ".join([listed.family.value, ".".join(map(str, listed.version))]).strip(),
            "features": sorted(listed.listed) if listed.answered else None,
            **{ability.value: self.works(ability) for ability in Ability},
            "time_setting": self.time_setting.value if self.time_setting else None,
            "folders_entered": self.entering.value if self.entering else None,
            "listed_times_ahead_minutes": None if self.zone is None else self.zone // MINUTE,
            "tls_cipher": self.tls_cipher,
            "tls_group": self.tls_group,
            "tls_version": self.tls_version,
            "tls_weakness": self.tls_weakness,
            "known_folders": len(self.folders),
        }
