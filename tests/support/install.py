"""Fetches foreign programs for tests: ``python -m tests.support.install WHAT...``.

The three FTP servers conflict as packages and would start as services, so they are only unpacked, into a
cache folder that Git ignores: ``.cache`` in the checkout, or where ``POOLER_TEST_CACHE`` points. What they
need of the system (libraries, Java, Maven, a browser) comes from its package manager, which takes root.
Everything here may be run again: what is there already is left alone. What fails, fails loudly.
"""

import argparse
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ACCOUNT = "poolertest"
PASSWORD = "pooler-secret"
PASSWORD_HASH = (
    # Few rounds: a login in a test must not cost more than one on a busy real server.
    "$6$rounds=1000$pooler$751basxZal9Dj.A4CF8tMuRnkQtkYIGPI"
    "/tjVkf6gCtEtJMobEN2PBN3Z9vWJH.9dkuCY4Lolslwrib9XWOHE."
)
PAM_SERVICE = "pooler-test-ftp"
_PAM_FILE = Path("/etc/pam.d") / PAM_SERVICE
_PAM_RULES = """\
# For the vsftpd that the tests of ftp-pooler start; safe to remove.
auth required pam_unix.so nodelay
account required pam_unix.so
session required pam_permit.so
"""

SERVER_PACKAGES: Mapping[str, Sequence[str]] = {
    "vsftpd": ["vsftpd"],
    "proftpd": ["proftpd-core", "proftpd-mod-crypto"],
    "pure-ftpd": ["pure-ftpd", "pure-ftpd-common"],
}
SERVER_LIBRARIES = [
    "libacl1",
    "libcap2",
    "libcrypt1",
    "libhiredis0.14",
    "libmemcached11",
    "libmemcachedutil2",
    "libpam-modules",
    "libpcre2-posix3",
    "libsodium23",
    "libssl3",
    "libwrap0",
]
_SERVER_PROGRAMS = {"vsftpd": "vsftpd", "proftpd": "proftpd", "pure-ftpd": "pure-ftpd"}


class MissingProgramError(Exception):
    """A program that a test needs is not there; the message names what to install and how."""


def cache() -> Path:
    """Return the folder that keeps what was fetched."""
    return Path(os.environ.get("POOLER_TEST_CACHE") or ROOT / ".cache").absolute()


def server_program(kind: str) -> Path:
    """Return the unpacked program of an FTP server.

    Raises:
        MissingProgramError: it was not fetched yet.
    """
    program = cache() / "servers" / kind / "usr" / "sbin" / _SERVER_PROGRAMS[kind]
    if not program.exists():
        raise MissingProgramError(
            f"{kind} is missing at {program}: run `python -m tests.support.install servers`, which unpacks"
            f" the Debian packages {' '.join(SERVER_PACKAGES[kind])} there"
        )
    return program


def server_account() -> pwd.struct_passwd:
    """Return the local account under which the servers serve.

    Raises:
        MissingProgramError: it was not made yet.
    """
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise MissingProgramError(
            f"the local user {ACCOUNT} is missing: run `python -m tests.support.install servers` as root"
        ) from None


def broker_jars() -> Path:
    """Return the folder with the jars of Apache Kafka.

    Raises:
        MissingProgramError: they, or Java itself, are missing.
    """
    jars = cache() / "kafka"
    if not jars.is_dir():
        raise MissingProgramError(
            f"Apache Kafka is missing at {jars}: run `python -m tests.support.install broker`, which gets it"
            " from Maven Central with the Debian package maven"
        )
    if shutil.which("java") is None:
        raise MissingProgramError("java is missing: install the Debian package openjdk-17-jre-headless")
    return jars


def kafka_classes() -> Path:
    """Return where the archive of Kafka's classes is, or would be: `tests.support.kafka_classes`."""
    return cache() / "kafka-classes.jsa"


def install_servers() -> None:
    """Unpack the FTP servers, install their libraries, and make the account under which they serve."""
    _apt_install([name for name in SERVER_LIBRARIES if not _installed(name)])
    for kind, packages in SERVER_PACKAGES.items():
        target = cache() / "servers" / kind
        if target.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{kind}-") as name:
            work = Path(name)
            _apt("-o", "APT::Sandbox::User=root", "download", *packages, cwd=work)
            for package in sorted(work.glob("*.deb")):
                _run("dpkg", "-x", str(package), str(work / "unpacked"))
            (work / "unpacked").rename(target)
    if not _PAM_FILE.exists():
        _PAM_FILE.write_text(_PAM_RULES)
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        # No shell: the password is known to all, and opens nothing but these FTP servers.
        shell = "/usr/sbin/nologin"
        _run(
            *("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", "--shell", shell),
            *("--comment", "FTP tests of ftp-pooler", "--password", PASSWORD_HASH, ACCOUNT),
        )


def install_broker() -> None:
    """Get Apache Kafka from Maven Central, and Java, Maven and kcat from the system's packages."""
    needed = {"java": "openjdk-17-jre-headless", "mvn": "maven", "kcat": "kcat"}
    _apt_install([package for program, package in needed.items() if shutil.which(program) is None])
    _get_jars(cache() / "kafka")
    # In a process of its own: it takes the broker that this one has just fetched.
    _run(sys.executable, "-m", "tests.support.kafka_classes", cwd=ROOT)


def _get_jars(jars: Path) -> None:
    if jars.is_dir():
        return
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".kafka-") as name:
        output = Path(name) / "jars"
        _run(
            *("mvn", "-q", "-B", "-f", str(ROOT / "tests" / "support" / "kafka" / "pom.xml")),
            *("dependency:copy-dependencies", f"-DoutputDirectory={output}"),
        )
        output.rename(jars)


def install_peers() -> None:
    """Install the clients that benchmarks compare with, and what makes a link between two namespaces."""
    needed = {"lftp": "lftp", "rclone": "rclone", "curl": "curl", "ip": "iproute2"}
    _apt_install([package for program, package in needed.items() if shutil.which(program) is None])


def install_browser() -> None:
    """Install the browser that looks at the page of the service."""
    if shutil.which("chromium") is None:
        _apt_install(["chromium"])


def image_base() -> Path:
    """Return the archive of the system that the image is built on.

    Raises:
        MissingProgramError: it was not made yet.
    """
    base = cache() / "image" / "base.tar"
    if not base.exists():
        raise MissingProgramError(
            f"there is no base for the image at {base}: run `python -m tests.support.install image`, which"
            " makes it of Debian's packages with mmdebstrap"
        )
    return base


def install_image() -> None:
    """Install what builds an image without an engine, and make a base for it without a registry of images."""
    needed = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "ip": "iproute2"}
    _apt_install([package for program, package in needed.items() if shutil.which(program) is None])
    base = cache() / "image" / "base.tar"
    if base.exists():
        return
    base.parent.mkdir(parents=True, exist_ok=True)
    # Nobody reads manuals in a container, and speaks but English there; licences stay.
    without = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "info", "locale", "doc")] + [
        "--dpkgopt=path-include=/usr/share/doc/*/copyright"
    ]
    with tempfile.TemporaryDirectory(dir=base.parent) as name:
        made = Path(name) / "base.tar"
        packages = "--include=python3,python3-venv,ca-certificates"
        _run("mmdebstrap", "--variant=minbase", packages, *without, "bookworm", str(made))
        made.rename(base)


KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
_SCHEMAS = ROOT / "tests" / "kube" / "schemas"
_CONTROL_PLANE = ROOT / "tests" / "kube" / "control_plane"


def fetched(*names: str, what: str) -> Path:
    """Return a file or folder of the cache.

    Args:
        names: its path in the cache.
        what: what installs it.

    Raises:
        MissingProgramError: it is not there.
    """
    path = cache().joinpath(*names)
    if not path.exists():
        raise MissingProgramError(f"{path} is missing: run `python -m tests.support.install {what}`")
    return path


def install_manifests() -> None:
    """Build kustomize, with Go, and get the schemas of custom resources, with npm."""
    kustomize = cache() / "kustomize"
    if not kustomize.is_dir():
        kustomize.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kustomize.parent, prefix=".kustomize-") as name:
            _run("go", "install", KUSTOMIZE, environment={"GOBIN": f"{name}/bin"})
            Path(name, "bin").rename(kustomize)
    lock = (_SCHEMAS / "package-lock.json").read_bytes()
    # By the content of the lock: another one is another folder.
    schemas = cache() / "schemas" / hashlib.sha256(lock).hexdigest()[:16]
    if not schemas.is_dir():
        schemas.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=schemas.parent, prefix=".schemas-") as name:
            for file in ("package.json", "package-lock.json"):
                shutil.copy(_SCHEMAS / file, name)
            _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=Path(name))
            shutil.copytree(name, schemas)


def schemas() -> Path:
    """Return the folder with the schemas of custom resources.

    Raises:
        MissingProgramError: they are not there, or not those of the lock.
    """
    lock = (_SCHEMAS / "package-lock.json").read_bytes()
    return fetched("schemas", hashlib.sha256(lock).hexdigest()[:16], what="manifests")


def install_cluster() -> None:
    """Build an API server of Kubernetes and etcd from their Go modules, which takes minutes."""
    target = cache() / "control-plane"
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".control-plane-") as name:
        build = ("go", "build", "-trimpath", "-ldflags=-s -w", "-o", f"{name}/bin/", "./etcd", "./apiserver")
        # Behind everything else on this machine: it takes all the processors there are.
        _run("nice", "-n", "19", *build, cwd=_CONTROL_PLANE, environment={"CGO_ENABLED": "0"})
        Path(name, "bin").rename(target)


def promtool() -> Path:
    """Return the program that checks rules of Prometheus.

    Raises:
        MissingProgramError: it was not fetched yet.
    """
    program = cache() / "prometheus" / "usr" / "bin" / "promtool"
    if not program.exists():
        raise MissingProgramError(
            f"promtool is missing at {program}: run `python -m tests.support.install alerts`, which unpacks"
            " the Debian package prometheus there"
        )
    return program


def install_alerts() -> None:
    """Unpack promtool, which checks rules of Prometheus; nothing of it is started."""
    target = cache() / "prometheus"
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".prometheus-") as name:
        work = Path(name)
        _apt("-o", "APT::Sandbox::User=root", "download", "prometheus", cwd=work)
        for package in work.glob("*.deb"):
            _run("dpkg", "-x", str(package), str(work / "unpacked"))
        (work / "unpacked").rename(target)


INSTALLERS: Mapping[str, Callable[[], None]] = {
    "servers": install_servers,
    "broker": install_broker,
    "peers": install_peers,
    "browser": install_browser,
    "image": install_image,
    "manifests": install_manifests,
    "cluster": install_cluster,
    "alerts": install_alerts,
}


def _installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        check=False,
        capture_output=True,
        text=True,
    )
    return answer.stdout == "installed"


def _apt_install(packages: Sequence[str]) -> None:
    if packages:
        _apt("-y", "install", "--no-install-recommends", *packages)


def _apt(*arguments: str, cwd: Path | None = None) -> None:
    command = ("apt-get", "-q", "-o", "Acquire::Retries=3", *arguments)
    try:
        _run(*command, cwd=cwd)
    except subprocess.CalledProcessError:
        # The machine's lists may be missing, or name packages that have been replaced since.
        _run("apt-get", "-q", "-o", "Acquire::Retries=3", "update")
        _run(*command, cwd=cwd)


def _run(*argv: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    sys.stderr.write(f"+ {' '.join(argv)}\n")
    whole = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
    subprocess.run(argv, check=True, cwd=cwd, env=whole)


def main() -> None:
    """Install what the command line names."""
    parser = argparse.ArgumentParser(description="Fetch the programs that tests run against.")
    parser.add_argument("what", nargs="+", choices=sorted(INSTALLERS))
    for what in parser.parse_args().what:
        INSTALLERS[what]()


if __name__ == "__main__":
    main()
