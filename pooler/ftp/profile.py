"""How to reach one server and log in: plain values, no configuration of the project's is needed."""

import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Literal

from pooler.errors import LocalProtocolError
from pooler.ftp.encoding import RAW, Encoding
from pooler.ftp.names import Form, check_charset
from pooler.ftp.wire import Command

# Versions before TLS 1.2 sign with SHA-1, which OpenSSL allows at this level only.
_ALLOW_BROKEN_TLS = ":@SECLEVEL=0"
_CIPHERS = "DEFAULT:!aNULL:!eNULL"
# What Python chooses by itself, but not where a distribution has built it to take OpenSSL's list.
_STRONG_CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that both kinds of connection go through.

    Attributes:
        kind: ``socks5`` (RFC 1928) or ``http`` (CONNECT).
        host: name or address.
        port: where it listens.
        user: account to give it; None for none.
        password: of that account, up to 255 bytes for SOCKS5.
    """

    kind: Literal["socks5", "http"]
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        name = "SOCKS5 proxy" if self.kind == "socks5" else "HTTP proxy"
        return f"{name} {self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Profile:
    """One server with one account.

    Attributes:
        host: name or address; with TLS also the name that the certificate must have.
        port: of the control connection; 21, and for implicit TLS usually 990.
        user: account to log in with.
        password: gives the password; called in a thread at each login, so that it may read a file. An OSError
            that it raises counts as a refused login.
        account: argument for ACCT where the server asks for one (332); None to have none.
        tls: ``none``, ``explicit`` (AUTH TLS, RFC 4217) or ``implicit`` (TLS from the first byte).
        verify_certificate: whether the server must prove its name. Without this anybody in between can read.
        ca_file: certificates to trust, PEM, in place of the system's.
        client_certificate: our own certificate chain, PEM; None for none.
        client_key: its key, without a passphrase; None where it stands in the same file.
        minimum_tls: older versions are refused. Before TLS 1.2 there is no safety, and OpenSSL's own floor
            for keys and signatures goes with it.
        tls_ciphers: the ciphers up to TLS 1.2, as OpenSSL writes a list; None for those with
            forward secrecy and no known weakness. Those of TLS 1.3 cannot be chosen.
        disable_tls13: for servers that cannot resume a session of TLS 1.3.
        resume_tls: resume the control connection's TLS session on data connections, as many servers demand.
        virtual_host: which of its hosts the server is to be (HOST, RFC 7151); with TLS it is that name which
            the certificate must have. None to say nothing.
        passive: let the server listen; False for active mode, where we do.
        active_address: numeric address to offer in active mode; None for our own. For use behind a NAT that
            hands its ports on to us.
        active_ports: the first and the last port to listen on in active mode; None for any.
        bind_address: numeric address of ours to connect from, and to listen on; None for routing's choice.
        proxy: what to go through; None for nothing. Not with active mode.
        disable_epsv: never ask for EPSV.
        trust_pasv_address: connect to the address in a 227, not to the address of the control connection. An
            honest server behind a badly set NAT needs the second, a cluster of data nodes the first.
        charset: of names on the wire. Bytes that are no text in it survive as surrogates.
        form: the Unicode form of names that we create; a missing source is looked for once in another form.
        encoding: for characters that the server refuses, as rclone writes them. With it, paths are in
            rclone's standard encoding.
        disable_utf8: never ask for UTF-8 names (OPTS UTF8 ON), though the server lists them.
        path_style: ``absolute`` sends whole paths; ``cwd`` goes into the folder and sends the bare name, for
            servers that take nothing else.
        transfer_type: ``image`` for bytes as they are; ``ascii`` has the server translate line ends, and then
            no size and no checksum of its can be compared.
        after_login: commands to send once logged in, such as ``SITE UMASK 002``. Where one is refused there
            is no session.
        before_store: commands to send before each STOR, such as ``SITE RECFM=VB``.
        disable_mlsd: never ask for MLSD, though the server lists it; listings go by LIST.
        force_list_hidden: list with ``LIST -a``, never by MLSD, for servers that hide names with a dot in
            front.
        timezone: of the times in LIST; None where nobody knows.
        mdtm_timezone: of the times in MDTM, MLST and MLSD, for servers that do not keep to UTC.
        writing_mdtm: set times by MDTM where there is no MFMT, though nothing says that the server can.
        double_iac: send the byte 0xFF twice (RFC 959 after Telnet); few servers expect it.
        connect_s: limit for a connection to stand, proxy and TLS included, in seconds; for the control
            connection including the greeting.
        exchange_s: limit for the reply to a command, in seconds.
        final_s: limit for the reply after a transfer, from the end of the data, in seconds; None for
            ``exchange_s``.
        stall_s: how long a data connection may move nothing, in seconds.
        noop_after_s: how long a transfer runs before a NOOP goes out beside it, and then between two, in
            seconds; infinity for none.
        close_s: limit for saying goodbye, in seconds.
        checksum_s: limit for a server's own computing of a checksum, in seconds.
        doubt_s: how long nothing must follow a malformed reply before it is taken to have ended, in seconds.
    """

    host: str
    user: str
    password: Callable[[], str] = field(repr=False)
    port: int = 21
    account: str | None = field(default=None, repr=False)
    tls: Literal["none", "explicit", "implicit"] = "none"
    verify_certificate: bool = True
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    minimum_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    tls_ciphers: str | None = None
    disable_tls13: bool = False
    resume_tls: bool = True
    virtual_host: str | None = None
    passive: bool = True
    active_address: str | None = None
    active_ports: tuple[int, int] | None = None
    bind_address: str | None = None
    proxy: Proxy | None = None
    disable_epsv: bool = False
    trust_pasv_address: bool = False
    charset: str = "utf-8"
    form: Form = Form.KEEP
    encoding: Encoding = RAW
    disable_utf8: bool = False
    path_style: Literal["absolute", "cwd"] = "absolute"
    transfer_type: Literal["image", "ascii"] = "image"
    after_login: tuple[str, ...] = ()
    before_store: tuple[str, ...] = ()
    disable_mlsd: bool = False
    force_list_hidden: bool = False
    timezone: tzinfo | None = None
    mdtm_timezone: tzinfo = UTC
    writing_mdtm: bool = False
    double_iac: bool = False
    connect_s: float = 30.0
    exchange_s: float = 60.0
    final_s: float | None = None
    stall_s: float = 60.0
    noop_after_s: float = 60.0
    close_s: float = 1.0
    checksum_s: float = 300.0
    doubt_s: float = 1.0

    def __post_init__(self) -> None:
        if self.proxy is not None and not self.passive:
            raise ValueError("a proxy cannot hand on the connections of active mode")
        check_charset(self.charset)
        try:
            for line in (*self.after_login, *self.before_store):
                self.command(line)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must have."""
        return self.virtual_host or self.host

    def encode(self, text: str) -> bytes:
        """Make the bytes of a name.

        Raises:
            LocalProtocolError: the name has characters that the charset lacks.
        """
        try:
            return text.encode(self.charset, "surrogateescape")
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"{text!r} has characters that {self.charset} lacks") from error

    def command(self, line: str) -> Command:
        """Make a command of a line of ``after_login`` or ``before_store``.

        Raises:
            LocalProtocolError: it is no command, or has characters that the charset lacks.
        """
        verb, space, argument = line.partition(" ")
        return Command(verb.upper(), self.encode(argument) if space else None)

    def make_tls_context(self) -> ssl.SSLContext:
        """Make the context that the control connection and its data connections share.

        Raises:
            OSError: a certificate file cannot be read, or holds nothing of use (``ssl.SSLError``).
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.verify_certificate:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        broken = self.minimum_tls < ssl.TLSVersion.TLSv1_2
        with warnings.catch_warnings():
            if broken:  # the caller has been told, by the docs of that attribute
                warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = self.minimum_tls
        if broken:
            context.set_ciphers((self.tls_ciphers or _CIPHERS) + _ALLOW_BROKEN_TLS)
        else:
            context.set_ciphers(self.tls_ciphers or _STRONG_CIPHERS)
        # Some builds of Python take an end without close_notify for a proper one; we want to be told.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        if self.disable_tls13:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if self.client_certificate is not None:
            # Without a passphrase OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(self.client_certificate, self.client_key, password="")
        return context
