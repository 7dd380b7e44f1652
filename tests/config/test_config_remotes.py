import math
from pathlib import Path
from ssl import TLSVersion
from zoneinfo import ZoneInfo

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.testing import capture_logs

from pooler.config.addresses import ProxyServer
from pooler.config.ftp_section import FTP_KEYS, RCLONE_FTP_KEYS, Format
from pooler.config.passwords import PasswordFile
from pooler.config.problems import Problems
from pooler.config.remotes import Connections, FtpRemote, LocalFolder
from pooler.config.sections import read
from pooler.config.settings import Settings
from pooler.config.temp_name import TOKEN_BYTES, TempName
from pooler.config.tls import INSECURE_CIPHERS, weak_ciphers
from pooler.errors import NoPassword
from pooler.ftp.encoding import Encoding, Flag, parse_encoding
from pooler.ftp.names import Form
from pooler.ftp.profile import Profile, Proxy
from pooler.model.job import Verify
from pooler.remotes import connector, policy_of

CA = Path(__file__).parent / "samples" / "ca.pem"
MINIMAL = "[a]\ntype = ftp\nhost = ftp.example.com\nuser = u\n"


def load(
    text: str,
    environ: dict[str, str] | None = None,
    *,
    file_format: Format = "plain",
    local_root: Path | None = None,
) -> tuple[Connections, Problems]:
    problems = Problems()
    found = read(
        text,
        "c.ini",
        {"USER": "os-user"} | (environ or {}),
        problems,
        file_format=file_format,
        local_root=local_root,
    )
    return found, problems


def remote(text: str, environ: dict[str, str] | None = None, *, file_format: Format = "plain") -> FtpRemote:
    found, problems = load(text, environ, file_format=file_format)
    assert problems.mistakes == ()
    (only,) = found.remotes
    return only


def test_a_total_that_pods_could_not_tell_each_other_is_a_mistake() -> None:
    assert remote(f"{MINIMAL}bandwidth_total = 900T\n").bandwidth_total_bytes_per_s == 900 * 1024**4
    _, problems = load(f"{MINIMAL}bandwidth_total = 1P\n")
    (mistake,) = problems.mistakes
    assert "expected at most 1000000000000000 bytes a second, or off, got '1P'" in mistake


def test_defaults() -> None:
    only = remote("[a]\ntype = ftp\nhost = h\n")
    assert only == FtpRemote(name="a", host="h", user="os-user", password=only.password)
    assert only.password() == ""
    assert (only.port, only.base_path, only.charset, only.passive, only.max_sessions) == (
        21,
        "/",
        "utf-8",
        True,
        None,
    )


def test_every_key() -> None:
    only = remote(
        "[a]\ntype = ftp\nhost = [::1]\nport = 2121\nuser = u\npass = p%#w; d\nexplicit_tls = true\n"
        "no_check_certificate = true\ndisable_tls13 = true\ndisable_epsv = true\nbase_path = /x//y/\n"
        "charset = cp949\nmax_sessions = 3\nconcurrency = 7\nidle_timeout = 1m30s\nclose_timeout = off\n"
        "description = ours\naccount = a c\nvirtual_host = ftp.example.org\ntls_min_version = 1.2\n"
        "tls_ciphers = ECDHE+AESGCM\ntls_cache_size = 0\ntrust_pasv_address = true\npassive = false\n"
        "active_address = 203.0.113.9\nactive_ports = 40000-40100\nbind_address = 192.0.2.1\n"
        f"shut_timeout = 2m\nca_file = {CA}\nunicode_form = NFC\nencoding = Slash, Dot\n"
        "disable_utf8 = true\npath_style = cwd\ntransfer_type = ascii\n"
        "after_login = SITE UMASK 002; site a,b ;;\nbefore_store = SITE RECFM=VB\ndisable_mlsd = true\n"
        "force_list_hidden = true\ntimezone = Asia/Seoul\nmdtm_timezone = Asia/Tokyo\nwriting_mdtm = true\n"
        "double_iac = true\n"
        "checksum_timeout = 10m\ntemp_name = tmp/{name}-{token}\nverify = checksum\nmax_session_age = 1h\n"
    )
    assert only == FtpRemote(
        name="a",
        host="::1",
        user="u",
        password=only.password,
        port=2121,
        explicit_tls=True,
        no_check_certificate=True,
        disable_tls13=True,
        ca_file=CA,
        account="a c",
        virtual_host="ftp.example.org",
        tls_ciphers="ECDHE+AESGCM",
        resume_tls=False,
        disable_epsv=True,
        trust_pasv_address=True,
        passive=False,
        active_address="203.0.113.9",
        active_ports=(40000, 40100),
        bind_address="192.0.2.1",
        base_path="/x/y",
        charset="cp949",
        unicode_form="nfc",
        encoding="Slash, Dot",
        disable_utf8=True,
        path_style="cwd",
        transfer_type="ascii",
        after_login=("SITE UMASK 002", "site a,b"),
        before_store=("SITE RECFM=VB",),
        disable_mlsd=True,
        force_list_hidden=True,
        timezone=ZoneInfo("Asia/Seoul"),
        mdtm_timezone=ZoneInfo("Asia/Tokyo"),
        writing_mdtm=True,
        double_iac=True,
        temp_name=TempName("tmp", "{name}-{token}"),
        verify=Verify.CHECKSUM,
        max_sessions=3,
        idle_timeout_s=90.0,
        max_session_age_s=3600.0,
        close_timeout_s=math.inf,
        shut_timeout_s=120.0,
        checksum_timeout_s=600.0,
    )
    assert only.password() == "p%#w; d"


@pytest.mark.parametrize(
    ("lines", "name", "value"),
    [
        ("tls = true", "port", 990),
        ("tls = true\nport = 21", "port", 21),
        ("concurrency = 4", "max_sessions", 4),
        ("concurrency = 0", "max_sessions", None),
        ("max_sessions = 2\nconcurrency = 4", "max_sessions", 2),
        ("idle_timeout = 0", "idle_timeout_s", math.inf),
        ("", "max_session_age_s", 1500.0),
        ("max_session_age = 90", "max_session_age_s", 90.0),
        ("max_session_age = off", "max_session_age_s", math.inf),
        ("max_session_age = 0", "max_session_age_s", math.inf),
        ("base_path = /", "base_path", "/"),
        ("port =", "port", 21),
        ("", "temp_name", TempName("", ".{token}.part")),
        ("", "in_place", False),
        ("", "verify", Verify.SIZE),
        ("in_place = true", "in_place", True),
        ("write_only = true", "write_only", True),
        ("write_only = true", "in_place", True),
        ("write_only = true", "verify", Verify.NONE),
        ("write_only = true\nin_place = false", "in_place", False),
        ("verify = Read_Back", "verify", Verify.READ_BACK),
    ],
)
def test_what_follows_from_a_key(lines: str, name: str, value: object) -> None:
    assert getattr(remote(MINIMAL + lines), name) == value


RCLONE_FTP = {
    "host": "h",
    "user": "u",
    "port": "21",
    "pass": "YWFhYWFhYWFhYWFhYWFhYQ",
    "tls": "false",
    "explicit_tls": "false",
    "concurrency": "0",
    "no_check_certificate": "false",
    "disable_epsv": "false",
    "disable_mlsd": "false",
    "disable_utf8": "false",
    "writing_mdtm": "false",
    "force_list_hidden": "false",
    "idle_timeout": "5m0s",
    "close_timeout": "1m0s",
    "shut_timeout": "1m0s",
    "tls_cache_size": "32",
    "disable_tls13": "false",
    "allow_insecure_tls_ciphers": "false",
    "ask_password": "false",
    "socks_proxy": "",
    "http_proxy": "",
    "no_check_upload": "false",
    "encoding": "Slash,Del,Ctl,RightSpace,Dot",
    "description": "all that rclone has",
}


def test_every_option_of_rclone_is_honoured_or_refused() -> None:
    assert set(RCLONE_FTP) - FTP_KEYS - {"description"} == set(RCLONE_FTP_KEYS)
    lines = "".join(f"{key} = {value}\n" for key, value in RCLONE_FTP.items())
    found, problems = load(f"[a]\ntype = ftp\n{lines}", file_format="rclone")
    assert problems.mistakes == problems.warnings == ()
    assert found.remotes[0].encoding == RCLONE_FTP["encoding"]


@pytest.mark.parametrize(
    ("file_format", "line", "encoding"),
    [
        ("plain", "", "Raw"),
        ("rclone", "", "Slash,Del,Ctl,RightSpace,Dot"),
        ("plain", "encoding = Slash,Dot", "Slash,Dot"),
        ("rclone", "encoding = Raw", "Raw"),
    ],
)
def test_the_encoding_goes_by_the_format(file_format: Format, line: str, encoding: str) -> None:
    only = remote(MINIMAL + line, file_format=file_format)
    assert only.encoding == encoding
    assert connector(only, Settings()).profile.encoding == parse_encoding(encoding)


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        ("hots = x", "c.ini:5:1: a.hots: not a known key (did you mean host?)"),
        ("zzzzz = x", "c.ini:5:1: a.zzzzz: not a known key"),
        ("port = ftp", "c.ini:5:8: a.port: expected a whole number from 1 to 65535, got 'ftp'"),
        ("port = 0", "c.ini:5:8: a.port: expected a whole number from 1 to 65535, got '0'"),
        ("max_sessions = 0", "c.ini:5:16: a.max_sessions: expected a whole number from 1 to 10000, got '0'"),
        ("passive = perhaps", "c.ini:5:11: a.passive: expected true or false, got 'perhaps'"),
        ("charset = utf-16", "c.ini:5:11: a.charset: expected a charset that contains ASCII, such as"),
        (
            "max_session_age = never",
            "c.ini:5:19: a.max_session_age: expected a duration such as 1m30s, or off, got 'never'",
        ),
        (
            "idle_timeout = soon",
            "c.ini:5:16: a.idle_timeout: expected a duration such as 1m30s, or off, got 'soon'",
        ),
        (
            "base_path = x",
            "c.ini:5:13: a.base_path: expected an absolute path on the server, without '..', got 'x'",
        ),
        (
            "base_path = /x/../y",
            "c.ini:5:13: a.base_path: expected an absolute path on the server, without '..'",
        ),
        ("tls = 1\nexplicit_tls = 1", "c.ini:6:16: a.explicit_tls: tls is on too: expected one of the two"),
        (
            f"ca_file = {CA}",
            "c.ini:5:11: a.ca_file: asks for TLS: expected tls or explicit_tls beside it",
        ),
        (
            "tls = 1\nca_file = /no/such",
            "c.ini:6:11: a.ca_file: /no/such cannot be read: No such file or directory",
        ),
        (
            f"tls = 1\nca_file = {__file__}",
            "c.ini:6:11: a.ca_file: expected certificates as PEM: ",
        ),
        ("unicode_form = nfkc", "c.ini:5:16: a.unicode_form: expected keep, nfc or nfd, got 'nfkc'"),
        (
            "encoding = Slash,Dots",
            (
                "c.ini:5:12: a.encoding: expected flags of rclone's such as Slash,Del,Ctl,RightSpace,Dot, "
                "or Raw, got 'Dots'"
            ),
        ),
        ("path_style = relative", "c.ini:5:14: a.path_style: expected absolute or cwd, got 'relative'"),
        ("transfer_type = e", "c.ini:5:17: a.transfer_type: expected image or ascii, got 'e'"),
        (
            "after_login = NOOP; U MASK",
            (
                "c.ini:5:15: a.after_login: expected commands such as SITE UMASK 002, with ; between them, "
                "got 'U MASK'"
            ),
        ),
        ("after_login = SITE ${TWO_LINES}", "c.ini:5:15: a.after_login: expected commands such as SITE"),
        (
            "before_store = NOOP;stor x",
            "c.ini:5:16: a.before_store: STOR: expected no command for logins, folders and transfers",
        ),
        (
            "charset = cp949\nafter_login = SITE NAME \u00ff",
            "c.ini:6:15: a.after_login: '\u00ff': expected nothing that the charset cp949 lacks",
        ),
        ("timezone = KST", "c.ini:5:12: a.timezone: expected the IANA name of a time zone, such as Asia"),
        ("timezone = Asia", "c.ini:5:12: a.timezone: expected the IANA name of a time zone, such as Asia"),
        ("timezone = ../UTC", "c.ini:5:12: a.timezone: expected the IANA name of a time zone, such as Asia"),
        ("disable_mlsd = no?", "c.ini:5:16: a.disable_mlsd: expected true or false, got 'no?'"),
        ("tls_ciphers = ECDHE", "c.ini:5:15: a.tls_ciphers: asks for TLS: expected"),
        ("tls_min_version = 1.3", "c.ini:5:19: a.tls_min_version: asks for TLS: expected"),
        ("tls = 1\ntls_min_version = 2", "c.ini:6:19: a.tls_min_version: expected 1.2 or 1.3, got '2'"),
        (
            "tls = 1\ntls_min_version = TLSv1.3\ndisable_tls13 = 1",
            "c.ini:7:17: a.disable_tls13: tls_min_version is 1.3: expected one of the two",
        ),
        (f"tls = 1\nclient_key = {CA}", "c.ini:6:14: a.client_key: expected client_cert beside it"),
        (
            f"tls = 1\nclient_cert = {CA}",
            "c.ini:6:15: a.client_cert: expected a certificate and its key, without a passphrase, as PEM: ",
        ),
        (
            "tls = 1\ntls_ciphers = nonsense",
            "c.ini:6:15: a.tls_ciphers: expected ciphers as OpenSSL lists them, such as ECDHE+AESGCM, got",
        ),
        (
            "tls = 1\ntls_ciphers = ECDHE+AESGCM:AES128-SHA256:@SECLEVEL=0",
            "c.ini:6:15: a.tls_ciphers: weak: AES128-SHA256, @SECLEVEL=0: expected a list without them, or",
        ),
        ("tls_cache_size = -1", "c.ini:5:18: a.tls_cache_size: expected a whole number from 0 to"),
        ("active_ports = 1-2", "c.ini:5:16: a.active_ports: asks for active mode: expected passive = false"),
        ("active_address = ::1", "c.ini:5:18: a.active_address: asks for active mode: expected passive ="),
        (
            "passive = 0\nactive_ports = 2-1",
            "c.ini:6:16: a.active_ports: expected a range of ports such as 40000-40100, got '2-1'",
        ),
        ("passive = 0\nactive_ports = 0-9", "c.ini:6:16: a.active_ports: expected a range of ports such"),
        ("bind_address = eth0", "c.ini:5:16: a.bind_address: expected an IPv4 or IPv6 address, got 'eth0'"),
        (
            "passive = 0\nsocks_proxy = h:1",
            "c.ini:5:11: a.passive: no server can connect to us through a proxy: expected true",
        ),
        (
            "socks_proxy = h:1\nhttp_proxy = http://h:1",
            "c.ini:6:14: a.http_proxy: socks_proxy is given too: expected one of the two",
        ),
        (
            "http_proxy = https://u:pw@h:1",
            "c.ini:5:14: a.http_proxy: TLS to the proxy itself is not supported",
        ),
        (
            "ask_password = true",
            "c.ini:5:16: a.ask_password: nobody is there to be asked: expected false, and",
        ),
        ("no_check_upload = 1", "c.ini:5:19: a.no_check_upload: every upload is checked: expected false, or"),
        (
            "pass_file = /no/such",
            "c.ini:5:13: a.pass_file: /no/such cannot be read: No such file or directory",
        ),
        (
            f"pass_file = {__file__}\npass = p",
            "c.ini:5:13: a.pass_file: pass is given too: expected one of the two",
        ),
        ("pass = ${NO_SUCH}", "c.ini:5:8: a.pass: the environment variable NO_SUCH is not set"),
        ("pass = ${NO_TEXT}", "c.ini:5:8: a.pass: the environment variable NO_TEXT is not UTF-8"),
        ("pass = ${TWO_LINES}", "c.ini:5:8: a.pass: expected no CR, LF or NUL"),
        ("verify = sums", "c.ini:5:10: a.verify: expected none, size, checksum or read_back, got 'sums'"),
        ("write_only = 1\nverify = size", "c.ini:6:10: a.verify: write_only is on: expected none"),
        ("transfer_type = ascii\nverify = read_back", "c.ini:6:10: a.verify: transfer_type is ascii"),
        ("in_place = 1\ntemp_name = {token}", "c.ini:6:13: a.temp_name: uploads are in place"),
        ("write_only = 1\ntemp_name = {token}", "c.ini:6:13: a.temp_name: uploads are in place"),
        ("temp_name = ${TWO_LINES}{token}", "c.ini:5:13: a.temp_name: expected no CR, LF or NUL"),
        ("charset = cp949\ntemp_name = é{token}", "c.ini:6:13: a.temp_name: 'é': expected nothing that"),
        ("charset = cp949\ntemp_name = é/{token}", "c.ini:6:13: a.temp_name: 'é': expected nothing that"),
        (
            f"temp_name = {'보' * 64}{{token}}",
            "c.ini:5:13: a.temp_name: expected a name of at most 255 bytes",
        ),
        ("temp_name = part", "c.ini:5:13: a.temp_name: expected {token} in it, or all files would have"),
        ("temp_name = /tmp/{name}", "c.ini:5:13: a.temp_name: expected {token} in it, since files of all"),
        ("temp_name = {name}", "c.ini:5:13: a.temp_name: expected more than the file's own name"),
    ],
)
def test_a_mistake_in_an_ftp_section(lines: str, mistake: str) -> None:
    found, problems = load(MINIMAL + lines, {"TWO_LINES": "a\nb", "NO_TEXT": "\udcff"})
    (only,) = problems.mistakes
    assert only.startswith(mistake)
    assert not found


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[a]\nhost = h\n", "c.ini:1:1: a.type: missing: expected ftp, local or alias"),
        (
            "[a]\ntype = sftp\n",
            "c.ini:2:8: a.type: 'sftp' is not supported by this version: expected ftp, local or alias",
        ),
        ("[a]\ntype = ftp\n", "c.ini:1:1: a.host: missing: expected the name or address of the server"),
        (
            "[a]\ntype = ftp\nhost = h:21\n",
            "c.ini:3:8: a.host: expected a name or an address, without a port, got 'h:21'",
        ),
        (
            "[a]\ntype = local\n",
            (
                "c.ini:1:1: a.base_path: missing: "
                "expected an absolute path here, or transfer.local_root in the configuration"
            ),
        ),
        (
            "[a]\ntype = local\nbase_path = x\n",
            "c.ini:3:13: a.base_path: expected the absolute path of a local folder, got 'x'",
        ),
        (
            "[a]\ntype = local\nbase_path = /x\nlinks = true\n",
            "c.ini:4:9: a.links: not supported by this version: expected rclone's default, or no such key",
        ),
        ("[a]\ntype = alias\n", "c.ini:1:1: a.remote: missing: expected the absolute path of a local folder"),
        (
            "[a]\ntype = alias\nremote = b:/x\n",
            "c.ini:3:10: a.remote: expected the absolute path of a local folder, got 'b:/x'",
        ),
        ("[a]\ntype = alias\nremote = /x\nhost = h\n", "c.ini:4:1: a.host: not a known key"),
    ],
)
def test_a_mistake_in_a_section(text: str, mistake: str) -> None:
    found, problems = load(text)
    assert problems.mistakes == (mistake,)
    assert not found


def test_all_mistakes_at_once_and_good_sections_stay() -> None:
    found, problems = load(
        "[b]\ntype = ftp\nport = x\ntls = maybe\n[good]\ntype = alias\nremote = /srv\n[c]\ntype = s3\n"
    )
    assert problems.mistakes == (
        "c.ini:1:1: b.host: missing: expected the name or address of the server",
        "c.ini:3:8: b.port: expected a whole number from 1 to 65535, got 'x'",
        "c.ini:4:7: b.tls: expected true or false, got 'maybe'",
        "c.ini:9:8: c.type: 's3' is not supported by this version: expected ftp, local or alias",
    )
    assert dict(found) == {"good": LocalFolder("good", Path("/srv"))}


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("socks_proxy = p:1080", ProxyServer("socks5", "p", 1080)),
        ("socks_proxy = [::1]:1080", ProxyServer("socks5", "::1", 1080)),
        ("socks_proxy = u:p@:w@p:1080", ProxyServer("socks5", "p", 1080, "u", SecretStr("p@:w"))),
        ("socks_proxy = u@p:1080", ProxyServer("socks5", "p", 1080, "u")),
        ("http_proxy = http://p", ProxyServer("http", "p", 80)),
        ("http_proxy = http://[::1]:3128/", ProxyServer("http", "::1", 3128)),
        ("http_proxy = http://u:p%40w@p:3128", ProxyServer("http", "p", 3128, "u", SecretStr("p@w"))),
    ],
)
def test_proxies(text: str, proxy: ProxyServer) -> None:
    assert remote(MINIMAL + text).proxy == proxy


@pytest.mark.parametrize(
    "text",
    [
        "socks_proxy = hunter2@p",
        "socks_proxy = u:hunter2@p:x",
        "socks_proxy = :hunter2@p:1",
        "socks_proxy = u:hunter2@:1",
        f"socks_proxy = u:hunter2{'x' * 255}@p:1",
        "http_proxy = u:hunter2@p:1",
        "http_proxy = http://u:hunter2@p:x",
        "http_proxy = http://u:hunter2@[p:1",
        "http_proxy = http://u:hunter2@p:1/x",
        "http_proxy = https://u:hunter2@p:1",
    ],
)
def test_a_proxy_that_cannot_be_read_is_told_without_its_password(text: str) -> None:
    _, problems = load(MINIMAL + text)
    (only,) = problems.mistakes
    assert f"a.{text.split(maxsplit=1)[0]}: " in only
    assert "hunter2" not in only


def test_a_client_certificate(tmp_path: Path) -> None:
    own = trustme.CA().issue_cert("anna@example.org")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    assert remote(f"{MINIMAL}tls = 1\nclient_cert = {tmp_path}/both.pem").client_cert == tmp_path / "both.pem"
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    own.private_key_pem.write_to_path(tmp_path / "own.key")
    only = remote(f"{MINIMAL}tls = 1\nclient_cert = {tmp_path}/own.pem\nclient_key = {tmp_path}/own.key")
    assert only.client_key == tmp_path / "own.key"


def test_everything_that_weakens_tls_is_a_warning_by_name() -> None:
    found, problems = load(
        MINIMAL + "tls = 1\nno_check_certificate = 1\ntls_min_version = 1.0\nallow_insecure_tls_ciphers = 1\n"
    )
    assert problems.mistakes == ()
    certificate, version, ciphers = problems.warnings
    assert certificate == (
        "c.ini:6:24: a.no_check_certificate: anybody on the way can pose as the server and read everything"
    )
    assert version == "c.ini:7:19: a.tls_min_version: TLS 1.0 is broken: what it protects can be read"
    assert ciphers.startswith("c.ini:8:30: a.allow_insecure_tls_ciphers: these weak ciphers may be used: AES")
    assert "AES128-SHA256, " in ciphers
    assert found.remotes[0].tls_ciphers == INSECURE_CIPHERS
    _, problems = load(MINIMAL + "tls = 1\ntls_ciphers = AES128-SHA256\nallow_insecure_tls_ciphers = 1\n")
    assert problems.mistakes == ()
    assert problems.warnings == (
        "c.ini:7:30: a.allow_insecure_tls_ciphers: these weak ciphers may be used: AES128-SHA256",
    )


def test_what_would_weaken_tls_is_no_warning_without_tls() -> None:
    _, problems = load(MINIMAL + "no_check_certificate = 1\nallow_insecure_tls_ciphers = 1\n")
    assert problems.mistakes == problems.warnings == ()


@pytest.mark.parametrize(
    ("ciphers", "weak"),
    [
        ("DEFAULT:!kRSA:!aNULL", ()),
        ("ECDHE+AESGCM:PSK", ()),
        ("ECDHE+AESGCM:AECDH-AES128-SHA", ("AECDH-AES128-SHA",)),
        ("eNULL+ECDHE+aRSA:@SECLEVEL=0", ("ECDHE-RSA-NULL-SHA", "@SECLEVEL=0")),
    ],
)
def test_weak_ciphers(ciphers: str, weak: tuple[str, ...]) -> None:
    assert weak_ciphers(ciphers) == weak


def test_the_profile_says_all_that_the_file_does(tmp_path: Path) -> None:
    trustme.CA().issue_cert("anna").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    text = (
        f"{MINIMAL}tls = 1\nclient_cert = {tmp_path}/own.pem\nclient_key = {tmp_path}/own.pem\n"
        "tls_min_version = 1.3\ntls_ciphers = ECDHE+AESGCM\ntls_cache_size = 0\naccount = acct\n"
        "virtual_host = v\ntrust_pasv_address = 1\nbind_address = ::1\nsocks_proxy = u:p@h:1\n"
        "shut_timeout = 5\nclose_timeout = 7"
    )
    profile = connector(remote(text), Settings()).profile
    assert (profile.minimum_tls, profile.tls_ciphers, profile.resume_tls) == (
        TLSVersion.TLSv1_3,
        "ECDHE+AESGCM",
        False,
    )
    assert (profile.client_certificate, profile.client_key) == (f"{tmp_path}/own.pem",) * 2
    assert (profile.account, profile.virtual_host, profile.trust_pasv_address) == ("acct", "v", True)
    assert (profile.bind_address, profile.proxy) == ("::1", Proxy("socks5", "h", 1, "u", "p"))
    assert (profile.exchange_s, profile.final_s) == (7.0, 5.0)
    text = f"{MINIMAL}passive = 0\nactive_address = ::1\nactive_ports = 4\nshut_timeout = off"
    profile = connector(remote(text), Settings()).profile
    assert (profile.passive, profile.active_address, profile.active_ports) == (False, "::1", (4, 4))
    assert profile.final_s is None


def test_the_profile_says_what_dialect_the_file_does() -> None:
    text = (
        f"{MINIMAL}charset = cp949\nunicode_form = nfd\nencoding = 0x2\ndisable_utf8 = 1\npath_style = cwd\n"
        "transfer_type = ascii\nafter_login = NOOP; SITE A\nbefore_store = SITE B\ndisable_mlsd = 1\n"
        "force_list_hidden = 1\ntimezone = Asia/Seoul\nmdtm_timezone = Asia/Tokyo\nwriting_mdtm = 1\n"
        "double_iac = 1\nchecksum_timeout = 9\nnoop_after = 2m"
    )
    profile = connector(remote(text), Settings()).profile
    plain = connector(remote(MINIMAL), Settings()).profile
    dialect = {
        "charset": "cp949",
        "form": Form.NFD,
        "encoding": Encoding(Flag.SLASH),
        "disable_utf8": True,
        "path_style": "cwd",
        "transfer_type": "ascii",
        "after_login": ("NOOP", "SITE A"),
        "before_store": ("SITE B",),
        "disable_mlsd": True,
        "force_list_hidden": True,
        "timezone": ZoneInfo("Asia/Seoul"),
        "mdtm_timezone": ZoneInfo("Asia/Tokyo"),
        "writing_mdtm": True,
        "double_iac": True,
        "checksum_s": 9.0,
        "noop_after_s": 120.0,
    }
    assert {name: getattr(profile, name) for name in dialect} == dialect
    assert plain == Profile(
        "ftp.example.com", "u", plain.password, stall_s=plain.stall_s, exchange_s=plain.exchange_s
    )


def test_a_checksum_without_an_end_has_the_default() -> None:
    only = remote(MINIMAL + "checksum_timeout = off")
    assert connector(only, Settings()).profile.checksum_s == 300.0


def test_weak_tls_is_named_in_the_log() -> None:
    with capture_logs() as lines:
        on_weak_tls = connector(remote(MINIMAL), Settings())._on_weak_tls
        assert on_weak_tls is not None
        on_weak_tls("TLSv1 is broken")
    expected = {"event": "tls_is_weak", "log_level": "warning", "remote": "a", "weakness": "TLSv1 is broken"}
    assert lines == [expected]


def test_the_policy_of_a_remote_says_how_old_a_session_becomes() -> None:
    assert policy_of(remote(MINIMAL), Settings(), give_up=False).max_age_s == 1500.0
    only = remote(MINIMAL + "max_session_age = 1h\nidle_timeout = 2h")
    policy = policy_of(only, Settings(), give_up=True)
    assert (policy.max_age_s, policy.idle_s) == (3600.0, 7200.0)


@pytest.mark.parametrize("never", ["off", "0"])
def test_noops_can_be_turned_off(never: str) -> None:
    assert connector(remote(f"{MINIMAL}noop_after = {never}"), Settings()).profile.noop_after_s == math.inf


def test_a_temporary_name_that_tells_no_writers_apart_is_a_warning() -> None:
    found, problems = load(MINIMAL + "temp_name = {name}.filepart\n")
    assert problems.mistakes == ()
    (warning,) = problems.warnings
    assert warning.startswith("c.ini:5:13: a.temp_name: without {token} two processes")
    assert found.remotes[0].temp_name == TempName("", "{name}.filepart")


def test_a_drop_box_that_renames_may_have_temporary_names() -> None:
    text = "write_only = 1\nin_place = 0\nverify = none\ntemp_name = {token}.tmp\n"
    assert remote(MINIMAL + text).temp_name == TempName("", "{token}.tmp")


def test_a_name_of_just_the_bytes_that_fit() -> None:
    text = "보" * ((255 - TOKEN_BYTES) // 3)
    assert remote(f"{MINIMAL}temp_name = {text}{{token}}\n").temp_name.name.startswith(text)


def test_a_local_section_stands_in_the_local_root() -> None:
    found, problems = load("[d]\ntype = local\n[e]\ntype = local\nbase_path = /e\n", local_root=Path("/root"))
    assert problems.mistakes == ()
    assert found.folders == (LocalFolder("d", Path("/root")), LocalFolder("e", Path("/e")))


def test_the_environment_is_looked_up_and_not_looked_into() -> None:
    only = remote(MINIMAL + "pass = x${ONE}y$${TWO}z$TWO", {"ONE": "${TWO}", "TWO": "2"})
    assert only.password() == "x${TWO}y${TWO}z$TWO"


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    problems = Problems()
    read("[a]\ntype = ftp\nhost = h\n", "c.ini", {}, problems, file_format="plain", local_root=None)
    assert problems.mistakes == (
        "c.ini:1:1: a.user: missing: expected an account, because the user who runs this has no name",
    )


def test_an_obscured_password() -> None:
    text = MINIMAL + "pass = YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ"
    assert remote(text, file_format="rclone").password() == "potato"
    assert remote(text).password() == "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ"
    assert remote(MINIMAL + "pass =", file_format="rclone").password() == ""


def test_a_plain_password_where_an_obscured_one_is_expected() -> None:
    _, problems = load(MINIMAL + "pass = s3cret!", file_format="rclone")
    assert problems.mistakes == (
        (
            "c.ini:5:8: a.pass: not an obscured password: not base64url "
            "(connections.format is rclone; plain reads it as it stands)"
        ),
    )


def test_a_password_file_is_read_at_each_login(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("one\r\nother line\n")
    only = remote(f"{MINIMAL}pass_file = {file}\n", file_format="rclone")
    assert only.password() == "one"
    file.write_text("two")
    assert only.password() == "two"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"a\0b"])
def test_a_password_file_without_a_password(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(NoPassword, match=r"^a\.pass_file: "):
        PasswordFile("a", file)()


def test_a_password_file_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(NoPassword, match="cannot be read: No such file or directory"):
        PasswordFile("a", tmp_path / "gone")()


def test_no_password_is_shown() -> None:
    found, _ = load(MINIMAL + "pass = hunter2\naccount = hunter2\nsocks_proxy = u:hunter2@h:1")
    shown = repr(found) + repr(found["a"]) + repr(found.remotes[0].password)
    assert "hunter2" not in shown
    assert "ftp.example.com" in shown


@given(st.text())
def test_any_text_is_read_or_noted(text: str) -> None:
    found, problems = load(text)
    assert all(str(mistake).startswith("c.ini:") for mistake in problems.mistakes)
    assert isinstance(found, Connections)


words = st.sampled_from(
    ["true", "off", "1m", "/x", "..", "0", "x", "${USER}", "${NO}", "utf-8", "[::1]", "", "s3cret!"]
)
known = st.sampled_from(
    ["host", "port", "user", "pass", "pass_file", "tls", "explicit_tls", "ca_file", "base_path", "charset",
     "max_sessions", "concurrency", "idle_timeout", "passive", "remote", "encoding", "shut_timeout", "links",
     "socks_proxy", "http_proxy", "active_ports", "active_address", "bind_address", "tls_ciphers",
     "client_cert", "tls_min_version", "tls_cache_size", "allow_insecure_tls_ciphers", "virtual_host",
     "account", "unicode_form", "path_style", "transfer_type", "after_login", "before_store", "timezone",
     "double_iac", "checksum_timeout", "max_session_age", "global.checksum"]
)  # fmt: skip


@given(
    st.sampled_from(["ftp", "local", "alias"]),
    st.dictionaries(known, words | st.text()),
    st.sampled_from(["plain", "rclone"]),
)
def test_any_section_loads_or_is_noted(kind: str, entries: dict[str, str], file_format: Format) -> None:
    text = f"[a]\ntype = {kind}\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
    found, problems = load(text, file_format=file_format)
    assert ("a" in found) is not bool(problems.mistakes)
    for only in found.remotes:
        connector(only, Settings())
