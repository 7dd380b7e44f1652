"""A Secret as Kubernetes mounts it: links to a folder that is swapped whole."""

import shutil
from pathlib import Path


class SecretVolume:
    """A mounted Secret.

    Args:
        folder: where it is mounted; made here.
        content: of its keys, by their names.
    """

    def __init__(self, folder: Path, **content: str) -> None:
        self._folder = folder
        self._turn = 0
        folder.mkdir()
        self.rotate(**content)
        for key in content:
            (folder / key).symlink_to(f"..data/{key}")

    def path(self, key: str) -> Path:
        """Tell where a key is read."""
        return self._folder / key

    def rotate(self, **content: str) -> None:
        """Put other content in its place, as the kubelet does: no file that was there is touched."""
        self._turn += 1
        written = self._folder / f"..2024_01_08_12_00_00.{self._turn}"
        written.mkdir()
        for key, value in content.items():
            (written / key).write_text(value)
        data, coming = self._folder / "..data", self._folder / "..data_tmp"
        before = data.resolve() if data.is_symlink() else None
        coming.symlink_to(written.name)
        coming.rename(data)
        if before is not None:
            shutil.rmtree(before)
