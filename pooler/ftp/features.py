"""What a server can do, by FEAT (RFC 2389), and what is known of its family, by greeting and SYST. Pure data.

FEAT is a hint, not a promise, in both directions: MLSD may be listed and broken (rclone#8368), SIZE, MDTM and
REST may work unlisted. What was tried counts more, and is kept by `learnt`.

`QUIRKS` says what servers of a family are known to do. It saves a surprise; none of it may be needed for a
transfer to be right.

Neighbours: `wire` gives the replies, `checksums` chooses by what is listed.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

MAX_FEATURES = 256
_MAX_FEATURE_CHARACTERS = 1024

_FEATURE = re.compile(r"([!-~]{1,32})(?: +(.*))?", re.DOTALL)
_NO_FEATURES: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_LIST_SEPARATOR = re.compile(r"[;,\s]+")


class Family(enum.Enum):
    """A server's software."""

    UNKNOWN = "unknown"
    VSFTPD = "vsftpd"
    PROFTPD = "proftpd"
    PURE_FTPD = "pure-ftpd"
    PYFTPDLIB = "pyftpdlib"
    FILEZILLA = "FileZilla Server"
    IIS = "IIS"
    SERV_U = "Serv-U"
    SFTPGO = "SFTPGo"
    WU_FTPD = "wu-ftpd"
    MVS = "z/OS"
    OS400 = "OS/400"
    VMS = "VMS"


@dataclass(frozen=True, slots=True)
class Features:
    """What a server says of itself.

    Attributes:
        listed: FEAT's lines: name in capitals → what stood behind it, an item for each line of that name.
        answered: whether FEAT was answered at all; else nothing is known, and all may work.
        family: the software, as far as it tells.
        version: its numbers; empty where it does not tell.
        system: what SYST says; empty where it was not asked or not answered.
    """

    listed: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_FEATURES, hash=False)
    answered: bool = False
    family: Family = Family.UNKNOWN
    version: tuple[int, ...] = ()
    system: str = ""

    def has(self, name: str) -> bool:
        """Whether FEAT lists a name, in capitals."""
        return name in self.listed

    def _words(self, name: str) -> tuple[str, ...]:
        words = (word for text in self.listed.get(name, ()) for word in _LIST_SEPARATOR.split(text))
        return tuple(word for word in words if word.strip("*"))

    @property
    def mlst_facts(self) -> tuple[str, ...]:
        """The facts that MLST and MLSD can tell, in small letters."""
        return tuple(fact.rstrip("*").lower() for fact in self._words("MLST"))

    @property
    def mlst_selected(self) -> tuple[str, ...]:
        """Those that they tell unless OPTS MLST says otherwise: the ones with a star (RFC 3659 §7.8)."""
        return tuple(fact.rstrip("*").lower() for fact in self._words("MLST") if fact.endswith("*"))

    @property
    def mlsd(self) -> bool:
        """Whether MLSD is worth a try; MLST stands for both (RFC 3659 §7.8). Not that it works."""
        return self.has("MLST") or self.has("MLSD")

    @property
    def utf8(self) -> bool:
        """Whether names are UTF-8 (RFC 2640)."""
        return self.has("UTF8") or self.has("UTF-8")

    @property
    def mdtm_sets(self) -> bool:
        """Whether MDTM takes a time to set: ``MDTM YYYYMMDDHHMMSS[+-TZ];filename``, as Serv-U lists it."""
        return any(words.upper().startswith("YYYYMMDD") for words in self.listed.get("MDTM", ()))

    @property
    def hashes(self) -> tuple[str, ...]:
        """The algorithms of HASH by its names, in capitals: ``SHA-256`` (draft-bryan-ftpext-hash §4)."""
        return tuple(name.rstrip("*").upper() for name in self._words("HASH"))

    @property
    def hash_selected(self) -> str | None:
        """The one that HASH uses unless OPTS HASH says otherwise, by its star; None where none has one."""
        return next((name.rstrip("*").upper() for name in self._words("HASH") if name.endswith("*")), None)

    @property
    def quirks(self) -> frozenset["Trait"]:
        """What is known of this family in this version."""
        return _quirks_of(self.family, self.version)


@cache
def _quirks_of(family: "Family", version: tuple[int, ...]) -> frozenset["Trait"]:
    return frozenset(quirk.trait for quirk in QUIRKS if quirk.fits(family, version))


def parse_feat(lines: Sequence[bytes]) -> Mapping[str, tuple[str, ...]]:
    """Read the lines of a 211 to FEAT, as `wire.Reply` has them (RFC 2389 §3.2).

    The first and the last line are words. To the letter a feature begins with a space; that some servers put
    the code in front, or nothing, does not matter here. A line that is no feature is passed over, and so is
    what is beyond `MAX_FEATURES`.

    Returns:
        As `Features.listed`.
    """
    listed: dict[str, tuple[str, ...]] = {}
    for line in lines[1:-1][:MAX_FEATURES]:
        text = line.decode("utf-8", "replace").strip()[:_MAX_FEATURE_CHARACTERS]
        match = _FEATURE.fullmatch(text)
        if match:
            name = match[1].upper().rstrip(";")
            listed[name] = (*listed.get(name, ()), (match[2] or "").strip())
    return MappingProxyType(listed)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A family, and the words by which its greeting, or its answer to SYST, is known."""

    family: Family
    words: re.Pattern[str]


def _mark(family: Family, words: str) -> _Mark:
    return _Mark(family, re.compile(words, re.IGNORECASE))


_BY_GREETING = (
    _mark(Family.VSFTPD, r"\bvsftpd" + r"(?:\D{0,4}(?P<version>\d+(?:\.\d+){1,3}))?"),
    _mark(Family.PROFTPD, r"\bproftpd(?: (?P<version>\d+\.\d+\.\d+)\S*)?"),
    _mark(Family.PURE_FTPD, r"\bpure-?ftpd\b(?P<version>)"),
    _mark(Family.PYFTPDLIB, r"\bpyftpdlib(?: (?P<version>\d+(?:\.\d+){1,3}))?"),
    _mark(Family.FILEZILLA, r"\bfilezilla server(?:(?: version)? (?P<version>\d+(?:\.\d+){1,3}))?"),
    _mark(Family.IIS, r"\bmicrosoft ftp service(?:.{0,9}version (?P<version>\d+(?:\.\d+){1,3}))?"),
    _mark(Family.SERV_U, r"\bserv-u\b(?: ftp[ -]server)?(?: v(?P<version>\d+(?:\.\d+){1,3}))?"),
    _mark(Family.SFTPGO, r"\bsftpgo\b(?: (?P<version>\d+(?:\.\d+){1,3}))?"),
    _mark(Family.WU_FTPD, r"\bwu-(?P<version>\d+(?:\.\d+){1,3})"),
    _mark(Family.MVS, r"\bibm ftp cs\b(?P<version>)|\bftpd?\d? ibm\b"),
    _mark(Family.OS400, r"\bqtcp at\b(?P<version>)"),
    _mark(Family.VMS, r"\b(?:multinet|openvms|vms) .*\bftp\b(?P<version>)|\btcpware\b"),
)
_BY_SYSTEM = (
    _mark(Family.MVS, r"^(?:mvs|z/os) is\b(?P<version>)|^mvs\b"),
    _mark(Family.OS400, r"^os/400\b(?P<version>)"),
    _mark(Family.VMS, r"^(?:open)?vms\b(?P<version>)"),
    _mark(Family.IIS, r"^windows_nt\b(?P<version>)"),
)
# vsftpd and pure-ftpd greet as their owners like, but no other server lists just these.
_VSFTPD_LISTS = frozenset({"EPRT", "EPSV", "MDTM", "PASV", "REST", "SIZE", "TVFS"})
_VSFTPD_MAY_LIST = frozenset({"UTF8", "AUTH", "PBSZ", "PROT"})
_PURE_FTPD_LISTS = frozenset({"ESTA", "ESTP"})


def guess_family(
    greeting: str, system: str = "", listed: Mapping[str, tuple[str, ...]] = _NO_FEATURES
) -> tuple[Family, tuple[int, ...]]:
    """Guess a server's software: by its greeting, else by what FEAT lists, else by SYST.

    Args:
        greeting: the text of the 220.
        system: the text of the 215; empty for none.
        listed: as `Features.listed`.

    Returns:
        The family and the version's numbers, none where it does not tell them.
    """
    for mark in _BY_GREETING:
        match = mark.words.search(greeting)
        if match:
            return mark.family, tuple(int(number) for number in (match["version"] or "").split(".") if number)
    names = frozenset(listed)
    if names >= _PURE_FTPD_LISTS:
        return Family.PURE_FTPD, ()
    if names >= _VSFTPD_LISTS and names <= _VSFTPD_LISTS | _VSFTPD_MAY_LIST:
        return Family.VSFTPD, ()
    return next((mark.family for mark in _BY_SYSTEM if mark.words.search(system)), Family.UNKNOWN), ()


def read_features(feat: Sequence[bytes] | None, greeting: str = "", system: str = "") -> Features:
    """Make the record of what a server says of itself.

    Args:
        feat: the lines of its 211 to FEAT; None where that was refused.
        greeting: the text of its 220.
        system: the text of its 215 to SYST; empty where that was refused or not asked.
    """
    listed = parse_feat(feat) if feat is not None else _NO_FEATURES
    system = system.strip()[:_MAX_FEATURE_CHARACTERS]
    family, version = guess_family(greeting[:_MAX_FEATURE_CHARACTERS], system, listed)
    return Features(listed, feat is not None, family, version, system)


class Trait(enum.Enum):
    """Something that servers of a family do."""

    PIPELINES = "takes several plain commands in one write"
    ONE_AT_A_TIME = "must never be sent a command before the last one has ended"
    WAITS_BEHIND_TRANSFER = "answers a command behind a running transfer when that has ended"
    REFUSES_BEHIND_TRANSFER = (
        "answers a command behind a running transfer at once, PASV, EPSV, RETR, STOR, RNFR with 450"
    )
    SWALLOWS_BEHIND_TRANSFER = "answers a command behind a running transfer with 500 and forgets it"
    BREAKS_BEHIND_TRANSFER = "closes a running transfer at a PASV or EPSV behind it"
    AUTH_TRAVELS_ALONE = "takes nothing in the same write as AUTH"
    SECOND_PRELIMINARY = "sends a second 150 at times, which may come after the transfer"
    NO_MLSD = "has neither MLST nor MLSD"
    MDTM_SETS = "sets a time by MDTM"
    RENAME_OVER_REFUSED = "refuses RNTO onto an existing file with 550"
    NO_CLOSE_NOTIFY = "ends TLS data without close_notify"
    HANDSHAKE_BEHIND_COMMAND = "shakes hands on the data connection only after RETR or STOR"
    WANTS_RESUMPTION = "refuses data connections that do not resume the control connection's TLS session"


@dataclass(frozen=True, slots=True)
class Quirk:
    """One row of `QUIRKS`.

    Attributes:
        families: who does it.
        trait: what.
        source: the point of docs/ftp.md, or the thread, that says so.
        through: the last version that does; empty for all, and a server that tells no version counts as old.
    """

    families: frozenset[Family]
    trait: Trait
    source: str
    through: tuple[int, ...] = ()

    def fits(self, family: Family, version: tuple[int, ...]) -> bool:
        """Whether a server of that family and version does it."""
        return family in self.families and (not self.through or version[: len(self.through)] <= self.through)


def _quirk(trait: Trait, source: str, *families: Family, through: tuple[int, ...] = ()) -> Quirk:
    return Quirk(frozenset(families), trait, source, through)


_SURVEY = "their sources and threads"

QUIRKS: tuple[Quirk, ...] = (
    _quirk(
        Trait.PIPELINES,
        _SURVEY,
        *(Family.VSFTPD, Family.PROFTPD, Family.PURE_FTPD, Family.PYFTPDLIB, Family.FILEZILLA),
    ),
    _quirk(Trait.ONE_AT_A_TIME, _SURVEY, Family.IIS),
    _quirk(Trait.WAITS_BEHIND_TRANSFER, _SURVEY, Family.VSFTPD, Family.FILEZILLA),
    _quirk(Trait.REFUSES_BEHIND_TRANSFER, _SURVEY, Family.PROFTPD, through=(1, 3, 8)),
    _quirk(Trait.SWALLOWS_BEHIND_TRANSFER, _SURVEY, Family.PURE_FTPD),
    _quirk(Trait.BREAKS_BEHIND_TRANSFER, _SURVEY, Family.PYFTPDLIB),
    _quirk(Trait.AUTH_TRAVELS_ALONE, "point 14", Family.FILEZILLA),
    _quirk(Trait.SECOND_PRELIMINARY, "point 4, rclone#3445", Family.PURE_FTPD),
    _quirk(Trait.NO_MLSD, "point 8, rclone#8368", Family.VSFTPD),
    _quirk(Trait.MDTM_SETS, "rclone's writing_mdtm", Family.VSFTPD),
    _quirk(Trait.RENAME_OVER_REFUSED, "point 10", Family.IIS, Family.FILEZILLA, Family.SERV_U),
    _quirk(Trait.NO_CLOSE_NOTIFY, "point 18, curl#17130", Family.IIS),
    _quirk(Trait.HANDSHAKE_BEHIND_COMMAND, "point 15, jlaffaye/ftp#282", Family.PURE_FTPD, Family.PROFTPD),
    _quirk(Trait.WANTS_RESUMPTION, "point 16, proftpd#1931", Family.PROFTPD, Family.VSFTPD, Family.FILEZILLA),
)
"""What each family is known to do. docs/ftp-servers.md has the same table, and what is done about it."""
