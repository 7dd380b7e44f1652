"""Builds the image with buildah, without an engine, and runs commands in it as a cluster would.

As a cluster would means: as the user that the image names, without any capability, on a root that is mounted
read-only with a ``/tmp`` of its own, and here in a network of its own that has nothing but loopback.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.install import ROOT, image_base

BASE = "localhost/pooler-base"
BUILT_AT = 1_767_225_600
"""The time that all files of the image bear, in place of the time at which they were made."""

_ENTER = """\
set -eu
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o size=3g,mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
ip link set lo up
exec setpriv --no-new-privs chroot --userspec="$user" "$root" /usr/bin/env -i "$@"
"""


class Builder:
    """A store of images in a folder of its own.

    Args:
        folder: where the images are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._buildah = (
            *("buildah", "--storage-driver", "vfs"),
            *("--root", str(folder / "storage"), "--runroot", str(folder / "run")),
        )

    def make_base(self) -> None:
        """Make an image of Debian and Python, and nothing else."""
        container = self._run("from", "scratch")
        self._run("add", "--quiet", container, str(image_base()), "/")
        self._run("commit", "--quiet", "--timestamp", str(BUILT_AT), "--rm", container, BASE)

    def build(self, *options: str) -> str:
        """Build the image as the Containerfile says, and return its id, a digest of all that is in it."""
        arguments = {"BASE": BASE, "SOURCE_DATE_EPOCH": str(BUILT_AT)}
        mounts: list[str] = []
        authority = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
        if authority is not None:
            # The way out of this machine may need it, and the base does not know it.
            mounts = ["--volume", f"{Path(authority).resolve()}:/run/authority.crt:ro"]
            arguments |= {"PIP_CERT": "/run/authority.crt", "SSL_CERT_FILE": "/run/authority.crt"}
        given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        output = self._run(
            *("bud", "--isolation", "chroot", "--network", "host", "--pull-never", *mounts, *given),
            *("--timestamp", str(BUILT_AT), *options, "--file", str(ROOT / "Containerfile"), str(ROOT)),
        )
        return output.splitlines()[-1]

    def config(self, image: str) -> dict[str, Any]:
        """Return how the image is to be run."""
        found: dict[str, Any] = json.loads(self._run("inspect", "--type", "image", image))["OCIv1"]["config"]
        return found

    @contextlib.contextmanager
    def mounted(self, image: str) -> Iterator["Container"]:
        """Lay out the image's files, and take them away again."""
        name = self._run("from", "--pull-never", image)
        try:
            yield Container(Path(self._run("mount", name)), self.config(image))
        finally:
            self._run("rm", name)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self._buildah, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"buildah {arguments[0]}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout.strip()


class Container:
    """The files of an image, to run commands among them.

    Attributes:
        root: where they are.

    Args:
        root: as above.
        config: how the image is to be run.
    """

    def __init__(self, root: Path, config: Mapping[str, Any]) -> None:
        self.root = root
        self._config = config

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the image with these arguments, as an engine does: behind its entry point."""
        return self.execute([*self._config["Entrypoint"], *arguments])

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run any command in the image."""
        enter = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "sh")
        argv = [*enter, str(self.root), self._config["User"], *self._config["Env"], *command]
        # What it starts must find chroot and ip, whatever the path of whoever runs this is.
        search = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
        return subprocess.run(
            argv, env={"PATH": search}, cwd="/", capture_output=True, text=True, timeout=180, check=False
        )


@contextlib.contextmanager
def builder(folder: Path) -> Iterator[Builder]:
    """Give a store of images with the base in it, and remove it with all its images."""
    made = Builder(folder)
    try:
        made.make_base()
        yield made
    finally:
        shutil.rmtree(folder)
