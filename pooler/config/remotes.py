"""The FTP servers and the local folders that jobs name, as plain values.

Neighbour: `pooler.config.sections`, which makes them of connections.ini.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, tzinfo
from pathlib import Path

from pooler.config.addresses import ProxyServer
from pooler.config.dialect import RAW_ENCODING, PathStyle, TransferType, UnicodeForm
from pooler.config.maintenance import NO_WINDOWS, Windows
from pooler.config.temp_name import BESIDE, TempName
from pooler.config.tls import TlsVersion
from pooler.model.job import Verify

MAX_SESSION_AGE_S = 25 * 60.0
"""Below the half hour that a session of TLS 1.2 has in proftpd's cache, of which no ticket tells."""


@dataclass(frozen=True, slots=True)
class FtpRemote:
    """An FTP server with an account.

    Attributes:
        name: its section.
        host: a name or an address.
        user: the account.
        password: called at each login; what it returns is kept nowhere. It may raise ``NoPassword``.
        port: of the control connection.
        explicit_tls: AUTH TLS after the greeting (RFC 4217).
        tls: implicit TLS, from the first byte on.
        no_check_certificate: take any certificate.
        account: the argument of ACCT, for servers that ask for one; None for none.
        virtual_host: the argument of HOST (RFC 7151); None for no HOST.
        disable_tls13: at most TLS 1.2.
        ca_file: the certificates to trust instead of the system's; None for the system's.
        client_cert: our own certificate; None for none.
        client_key: its key; None where it stands in the same file.
        tls_min_version: older versions are refused.
        tls_ciphers: the ciphers up to TLS 1.2, as OpenSSL lists them; None for Python's own choice.
        resume_tls: whether data connections resume the control connection's TLS session.
        disable_epsv: PASV from the start, and PORT.
        trust_pasv_address: connect to the address that PASV tells.
        passive: whether the server listens for data connections; False for active mode, where we do.
        active_address: the address to offer in active mode; None for our own.
        active_ports: the first and last port to listen on in active mode; None for any.
        bind_address: the address of ours to connect from; None for the one that routing chooses.
        proxy: what to go through; None for nothing.
        base_path: the folder on the server that a job's ``/`` means; absolute, and without a ``/`` at its end
            unless it is nothing else.
        charset: of paths on the wire, as Python names it.
        unicode_form: the form of names that we create.
        encoding: for characters that the server refuses, as rclone's option of that name lists them.
        disable_utf8: no OPTS UTF8 ON.
        path_style: ``absolute`` for whole paths, ``cwd`` for bare names in the folder gone to before.
        transfer_type: ``image`` for bytes as they are, ``ascii`` where the server is to translate line ends.
        after_login: commands to send after each login.
        before_store: commands to send before each STOR.
        disable_mlsd: LIST from the start.
        force_list_hidden: ``LIST -a``, and no MLSD.
        timezone: of the times in LIST; None where nobody knows.
        mdtm_timezone: of the times in MDTM, MLST and MLSD.
        writing_mdtm: times are set by MDTM where there is no MFMT.
        double_iac: the byte 0xFF is sent twice.
        temp_name: what an upload is called until it is whole.
        in_place: whether uploads have no other name until then, where their job does not say.
        write_only: whether nothing can be asked about what was uploaded.
        verify: what is compared, where a job does not say.
        max_sessions: the most sessions on it; None leaves it to ``pool.max_sessions_per_connection``.
        max_sessions_total: the most sessions on it of all processes together; None for no such bound.
        limit_group: shares its limits with all remotes that name the same group; None for nobody.
        owner: who is told of trouble with it; None for nobody in particular.
        connects_per_minute: the most logins; None leaves it to ``pool.connects_per_minute``.
        data_connections_per_s: the most data connections a second; None leaves it to
            ``pool.data_connections_per_second``.
        bandwidth_bytes_per_s: how many bytes a second may pass, both directions together; None for any
            number.
        bandwidth_total_bytes_per_s: how many may pass in all processes together; None for any number.
        maintenance: when it is left alone.
        idle_timeout_s: how long a session may be idle, in seconds, infinity for ever; None leaves it to
            ``pool.session_timeout_seconds``.
        max_session_age_s: how old a session may become, in seconds; infinity for ever.
        close_timeout_s: how long a reply may take, in seconds; None and infinity leave it to
            ``transfer.reply_timeout_seconds``, as nothing here waits for ever.
        shut_timeout_s: how long the reply after the data may take, in seconds; None and infinity leave it to
            ``close_timeout_s``.
        checksum_timeout_s: how long the server may compute a checksum, in seconds; None and infinity leave it
            to the client's own limit.
        noop_after_s: how long a transfer runs before a NOOP goes out beside it, in seconds, infinity for
            never; None leaves it to the client.
    """

    name: str
    host: str
    user: str
    password: Callable[[], str] = field(repr=False)
    port: int = 21
    explicit_tls: bool = False
    tls: bool = False
    account: str | None = field(default=None, repr=False)
    virtual_host: str | None = None
    no_check_certificate: bool = False
    disable_tls13: bool = False
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    tls_min_version: TlsVersion = "1.2"
    tls_ciphers: str | None = None
    resume_tls: bool = True
    disable_epsv: bool = False
    trust_pasv_address: bool = False
    passive: bool = True
    active_address: str | None = None
    active_ports: tuple[int, int] | None = None
    bind_address: str | None = None
    proxy: ProxyServer | None = None
    base_path: str = "/"
    charset: str = "utf-8"
    unicode_form: UnicodeForm = "keep"
    encoding: str = RAW_ENCODING
    disable_utf8: bool = False
    path_style: PathStyle = "absolute"
    transfer_type: TransferType = "image"
    after_login: tuple[str, ...] = ()
    before_store: tuple[str, ...] = ()
    disable_mlsd: bool = False
    force_list_hidden: bool = False
    timezone: tzinfo | None = None
    mdtm_timezone: tzinfo = UTC
    writing_mdtm: bool = False
    double_iac: bool = False
    temp_name: TempName = BESIDE
    in_place: bool = False
    write_only: bool = False
    verify: Verify = Verify.SIZE
    max_sessions: int | None = None
    max_sessions_total: int | None = None
    limit_group: str | None = None
    owner: str | None = None
    connects_per_minute: int | None = None
    data_connections_per_s: float | None = None
    bandwidth_bytes_per_s: float | None = None
    bandwidth_total_bytes_per_s: int | None = None
    maintenance: Windows = NO_WINDOWS
    idle_timeout_s: float | None = None
    max_session_age_s: float = MAX_SESSION_AGE_S
    close_timeout_s: float | None = None
    shut_timeout_s: float | None = None
    checksum_timeout_s: float | None = None
    noop_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder of this machine, or of a volume that is mounted here.

    Attributes:
        name: its section.
        path: what a job's ``/`` means; absolute.
    """

    name: str
    path: Path


def shown(remote: FtpRemote) -> dict[str, str]:
    """Describe a remote for people, but for its name: all that is not left to its default, and no secret."""
    return {
        one.name: str(getattr(remote, one.name))
        for one in fields(remote)
        if one.repr
        and one.name != "name"
        and (one.default is MISSING or getattr(remote, one.name) != one.default)
    }


class Connections(Mapping[str, FtpRemote | LocalFolder]):
    """Every remote and every local folder, by name, in the order of the file."""

    def __init__(self, *ends: FtpRemote | LocalFolder) -> None:
        self._ends = {end.name: end for end in ends}

    def __getitem__(self, name: str) -> FtpRemote | LocalFolder:
        return self._ends[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._ends.values()))})"

    @property
    def remotes(self) -> tuple[FtpRemote, ...]:
        """The FTP servers."""
        return tuple(end for end in self._ends.values() if isinstance(end, FtpRemote))

    @property
    def folders(self) -> tuple[LocalFolder, ...]:
        """The local folders."""
        return tuple(end for end in self._ends.values() if isinstance(end, LocalFolder))
