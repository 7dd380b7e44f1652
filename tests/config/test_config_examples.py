"""What ships with the project loads, so does what exists outside of it, and the document tells the truth."""

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from pooler.config import load
from pooler.config.ftp_section import FTP_KEYS, RCLONE_FTP_KEYS
from pooler.config.remotes import MAX_SESSION_AGE_S, LocalFolder
from pooler.config.section import Section
from pooler.config.settings import Settings
from pooler.config.values import duration
from pooler.errors import ConfigError
from pooler.ftp.profile import Profile

ROOT = Path(__file__).parents[2]
SAMPLES = Path(__file__).parent / "samples"
ROW = re.compile(r"^\| `(\w+)` \| (?:`(.*?)`|(none|)) ?\| .+ \|$")


def documented(document: str) -> dict[str, dict[str, str]]:
    """Read the tables of docs/configuration.md: for each heading the keys and their defaults."""
    found: dict[str, dict[str, str]] = {}
    rows: dict[str, str] = {}
    for line in document.splitlines():
        if line.startswith("### "):
            rows = found[line.removeprefix("### ")] = {}
        elif match := ROW.match(line):
            assert match[1] not in rows
            rows[match[1]] = match[2] or match[3]
    return found


DOCUMENT = documented((ROOT / "docs/configuration.md").read_text(encoding="utf-8"))


def shown(field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, tuple):
        return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in default)
    return {None: "none", True: "true", False: "false", "": '""'}.get(default, str(default))


def sections() -> dict[str, type[Section]]:
    return {name: type(field.default) for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("name", sections())
def test_the_document_has_every_key_and_no_other(name: str) -> None:
    fields = sections()[name].model_fields
    assert DOCUMENT[name] == {key: shown(field) for key, field in fields.items()}


def test_the_document_has_every_key_of_a_remote() -> None:
    assert set(DOCUMENT["type = ftp"]) == FTP_KEYS | {"description"}
    assert duration(DOCUMENT["type = ftp"]["checksum_timeout"]) == Profile("h", "u", str).checksum_s
    assert duration(DOCUMENT["type = ftp"]["noop_after"]) == Profile("h", "u", str).noop_after_s
    assert duration(DOCUMENT["type = ftp"]["max_session_age"]) == MAX_SESSION_AGE_S
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert [key for key in RCLONE_FTP_KEYS if f"`{key}`" not in text] == []


def test_the_document_has_no_other_section() -> None:
    assert set(DOCUMENT) == {*sections(), "type = ftp", "type = local", "type = alias"}


def test_the_example_is_the_defaults_with_every_key() -> None:
    found = load(ROOT / "etc/config.yaml", ROOT / "etc/connections.ini", {})
    assert found.settings == Settings()
    for name, model in sections().items():
        assert getattr(found.settings, name).model_fields_set == set(model.model_fields)
    assert found.warnings == ()
    assert [remote.name for remote in found.connections.remotes] == ["site-a"]
    assert [folder.name for folder in found.connections.folders] == ["local"]


def test_deployments_as_they_are() -> None:
    found = load(SAMPLES / "config.yaml", SAMPLES / "connections.ini", {})
    assert found.settings.kafka.bootstrap_servers == ("kafka-0:9092", "kafka-1:9092")
    defaults = Settings()
    assert found.settings.model_copy(update={"kafka": defaults.kafka}) == defaults
    a, b = found.connections.remotes
    assert (a.host, a.user, a.password(), a.passive) == ("ftp.example.com", "username", "password", True)
    assert (b.host, b.user, b.password(), b.passive) == ("ftp2.example.com", "admin", "s3cret!", False)
    assert found.connections["local"] == LocalFolder("local", Path("/mnt/storage"))
    assert found.warnings == ()


def test_an_rclone_conf_as_it_is() -> None:
    found = load(None, SAMPLES / "rclone.conf", {"POOLER__TRANSFER__LOCAL_ROOT": "/data"}).connections
    (site,) = found.remotes
    assert (site.password(), site.port, site.max_sessions, site.idle_timeout_s) == ("potato", 2121, 4, 90.0)
    assert site.explicit_tls
    assert site.no_check_certificate
    assert found.folders == (LocalFolder("disk", Path("/data")), LocalFolder("inbox", Path("/srv/inbox")))


def test_an_rclone_conf_without_a_local_root() -> None:
    with pytest.raises(ConfigError) as caught:
        load(SAMPLES / "config.yaml", SAMPLES / "rclone.conf", {})
    (only,) = caught.value.problems
    assert "rclone.conf:13:1: disk.base_path: missing" in only
    assert "transfer.local_root" in only
