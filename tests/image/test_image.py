"""The image is built from the Containerfile, and runs as a cluster would run it. Marked ``image``."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from pooler.version import version
from tests.image.container import Builder, Container, builder
from tests.support.install import ROOT

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    with builder(tmp_path_factory.mktemp("images")) as made:
        yield made


@pytest.fixture(scope="module")
def image(images: Builder) -> str:
    return images.build()


@pytest.fixture(scope="module")
def container(images: Builder, image: str) -> Iterator[Container]:
    with images.mounted(image) as made:
        yield made


def test_the_image_says_how_it_is_run_and_what_it_is(images: Builder, image: str) -> None:
    config = images.config(image)
    assert (config["Entrypoint"], config["Cmd"]) == (["pooler"], ["run"])
    user, group = config["User"].split(":")
    assert int(user) >= 10000
    assert int(group) >= 10000
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == version()
    for name in ("title", "description", "revision", "licenses"):
        assert labels[f"org.opencontainers.image.{name}"]


def test_the_program_runs_as_nobody_on_a_root_that_nobody_can_write_to(container: Container) -> None:
    done = container.run("version")
    assert (done.returncode, done.stdout.strip()) == (0, f"pooler {version()}"), done.stderr
    who = container.execute(["/usr/bin/id", "-u"])
    assert who.stdout.strip() == "10001"
    capabilities = container.execute(["/bin/grep", "CapEff", "/proc/self/status"])
    assert int(capabilities.stdout.split()[1], 16) == 0
    for folder, said in {"/": "Read-only file system", "/opt/pooler": "Read-only file system"}.items():
        written = container.execute(["/bin/sh", "-c", f"echo > {folder}/written"])
        assert written.returncode != 0
        assert said in written.stderr
    assert container.execute(["/bin/sh", "-c", "echo > /tmp/written"]).returncode == 0


def test_the_demo_passes_inside(container: Container) -> None:
    done = container.run("demo", "--files", "200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all right" in done.stdout.splitlines()[-1]


def test_what_is_installed_is_what_the_lock_says(container: Container) -> None:
    listing = (
        "from importlib import metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    )
    done = container.execute(["/opt/pooler/bin/python", "-c", listing])
    installed = {(canonicalize_name(name), v) for name, v in (one.split("==") for one in done.stdout.split())}
    lines = (ROOT / "lock" / "image.txt").read_text().splitlines()
    locked = {tuple(line.split()[0].split("==")) for line in lines if "==" in line}
    assert installed - locked == {("ftp-pooler", version())}


def test_zones_are_known_and_modules_are_compiled(container: Container) -> None:
    # Maintenance windows name zones; and nothing can be compiled at run time on a root that is read-only.
    zone = container.execute(
        ["/opt/pooler/bin/python", "-c", "import zoneinfo; print(zoneinfo.ZoneInfo('Asia/Seoul'))"]
    )
    assert zone.stdout.strip() == "Asia/Seoul", zone.stderr
    said = container.execute(
        ["/opt/pooler/bin/python", "-v", "-c", "import pooler.app, aiokafka, quart"]
    ).stderr.splitlines()
    compiled = [line for line in said if "matches /opt/pooler" in line]
    assert len(compiled) > 300
    from_source = [line for line in said if line.startswith("# code object from /opt/pooler")]
    assert not from_source


def test_all_files_are_roots_and_writable_to_nobody_else(container: Container) -> None:
    paths = list((container.root / "opt").rglob("*"))
    assert len(paths) > 1000
    for path in paths:
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (0, 0), path
        if not stat.S_ISLNK(found.st_mode):
            assert not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID), path
            assert found.st_mode & stat.S_IROTH, path


def test_the_service_adds_little_to_its_base(container: Container) -> None:
    files = [path for path in (container.root / "opt").rglob("*") if path.is_file() and not path.is_symlink()]
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    assert size_mb < 120
    tools = {"uv", "pip", "hatchling", "setuptools", "pytest"}
    (packages,) = (container.root / "opt" / "pooler" / "lib").glob("python3.*/site-packages")
    assert not tools & {path.name for path in packages.iterdir()}


def test_a_second_build_is_the_same_in_every_byte(images: Builder, image: str) -> None:
    assert images.build("--no-cache") == image


def test_nothing_but_the_sources_is_sent_to_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert sent == {"LICENSE", "README.md", "lock", "pooler", "pyproject.toml"}
    assert all((ROOT / name).exists() for name in sent)
    assert Path(ROOT / "Containerfile").exists()
