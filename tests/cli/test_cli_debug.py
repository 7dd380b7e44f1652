"""``pooler debug bundle``: all that is known goes into one archive, and no secret with it."""

import json
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from pooler.cli import exits, main
from pooler.cli.admin.masking import Mask
from pooler.ops.http.app import create_app
from pooler.ops.http.metrics_app import create_metrics_app
from pooler.ops.metrics import Metrics
from tests.support.api import serving
from tests.support.command import Command
from tests.support.process import free_port
from tests.support.service_double import COPIED, FAILED, ServiceDouble

SECRETS = (
    "pass-of-site-a", "pass from a file", "acct-of-site-a", 'sasl"pass', "proxy-p@ss", "passphrase-1",
    "bearer-token-1", "url-pass-1", "metadata-pass-1", "word1 word2", "MIIEvprivatekey", "operate",
)  # fmt: skip


@pytest.fixture
def planted(tmp_path: Path, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Plant secrets in all that goes into the archive; gives the options that name it."""
    for name in ("POOLER_CONFIG", "POOLER_CONNECTIONS", "FTP_POOLER_CONFIG", "FTP_POOLER_CONNECTIONS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pass").write_text("pass from a file\n")
    (tmp_path / "connections.ini").write_text(
        "[site-a]\ntype = ftp\nhost = h\nuser = u\npass = pass-of-site-a\naccount = acct-of-site-a\n"
        "socks_proxy = me:proxy-p%40ss@proxy:1080\n"
        f"[site-b]\ntype = ftp\nhost = h\nuser = u\npass_file = {tmp_path / 'pass'}\n"
    )
    (tmp_path / "config.yaml").write_text(
        "kafka:\n  security_protocol: SASL_PLAINTEXT\n  sasl_mechanism: PLAIN\n  sasl_username: me\n"
        "  sasl_password: 'sasl\"pass'\n"
    )
    said = (
        "530 pass-of-site-a is no password of u",
        "> PASS word1 word2",
        "< 530 see ftp://u:url-pass-1@h/, passphrase=passphrase-1",
        "< ACCT acct-of-site-a, and me:proxy-p@ss, proxy-p%40ss",
    )
    service.ended_jobs = [replace(FAILED, dialogue=said, error=said[0], reply=said[2]), COPIED]
    service.ledger.note("pause", "x", "::1", {"why": 'sasl"pass', "token": "bearer-token-1"})
    (tmp_path / "log").write_text(
        json.dumps({"event": "x", "password": "metadata-pass-1", "said": list(said)})
        + '\nAuthorization: Bearer bearer-token-1\nno JSON: sasl"pass "sasl\\"pass" pass from a file\n'
        + "-----BEGIN RSA PRIVATE KEY-----\nMIIEvprivatekey\n-----END RSA PRIVATE KEY-----\nthe last line\n"
    )
    return [
        *("--connections", str(tmp_path / "connections.ini"), "--config", str(tmp_path / "config.yaml")),
        *("--log", str(tmp_path / "log"), "--write", str(tmp_path / "bundle.tar.gz")),
    ]


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        texts = {name: stream.read().decode() for name, stream in found.items() if stream is not None}
    (folder,) = {name.partition("/")[0] for name in texts}
    assert folder.startswith("pooler-bundle-")
    return {name.partition("/")[2]: text for name, text in texts.items()}


async def test_no_secret_goes_into_a_bundle(command: Command, planted: list[str], tmp_path: Path) -> None:
    (tmp_path / "bundle.tar.gz").touch()
    (tmp_path / "bundle.tar.gz").chmod(0o644)
    code, out, err = await command("debug", "bundle", *planted)
    assert code == exits.OTHER  # the token may not see all
    found = unpacked(tmp_path / "bundle.tar.gz")
    for secret in SECRETS:
        for name, text in found.items():
            for form in (secret, json.dumps(secret)[1:-1]):
                assert form not in text, (secret, name)
        assert secret not in out + err, secret
    # What was not masked is still of use.
    (failed,) = json.loads(found["jobs-failed.json"])["jobs"][:1]
    assert failed["dialogue"][:2] == ["530 *** is no password of u", "> PASS ***"]
    assert "the last line" in found["log.txt"]
    here = json.loads(found["configuration-here.json"])["settings"]["kafka"]
    assert here["sasl_password"]["value"] == "***"
    assert here["sasl_password"]["from"].endswith("config.yaml:5:18")
    assert here["bootstrap_servers"]["from"] == "default"
    assert stat.S_IMODE((tmp_path / "bundle.tar.gz").stat().st_mode) == 0o600


async def test_a_bundle_has_all_that_is_known(
    service: ServiceDouble, planted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        serving(create_app(service, ())) as ((host, port), _),
        serving(create_metrics_app(service, Metrics("1", ["site-a"]))) as ((_, metrics_port), _),
    ):
        words = [
            *("debug", "bundle", "-o", "json", "--api", f"http://{host}:{port}"),
            *("--metrics", f"http://{host}:{metrics_port}/metrics", *planted),
        ]
        code = await trio.to_thread.run_sync(main.main, words)
    out, err = capsys.readouterr()
    assert (code, err) == (exits.OK, "")
    found = unpacked(tmp_path / "bundle.tar.gz")
    assert json.loads(out) == {
        "bundle": str(tmp_path / "bundle.tar.gz"), "files": sorted(found), "missing": {},
    }  # fmt: skip
    assert set(found) == {
        "audit.json", "batches.json", "configuration.json", "configuration-here.json", "failures.json",
        "folders.json", "jobs-failed.json", "jobs-running.json", "log.txt", "metrics.txt", "missing.json",
        "partitions.json", "pods.json", "remotes.json", "service.json", "stats.txt", "status.json",
        "tasks.json", "version.json",
    }  # fmt: skip
    assert "pooler_build_info" in found["metrics.txt"]
    assert [one["name"] for one in json.loads(found["remotes.json"])["remotes"]] == ["site-a", "site-b"]
    stacks = [line for task in json.loads(found["tasks.json"])["tasks"] for line in task["stack"]]
    assert any("server.py" in line for line in stacks)


def test_nobody_answers_and_there_is_a_bundle_all_the_same(
    planted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"http://127.0.0.1:{free_port()}"
    words = ["debug", "bundle", "--api", where, "--metrics", f"{where}/metrics", *planted]
    assert main.main(words) == exits.OTHER
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'bundle.tar.gz'}: 4 files\n"
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        "without what the API tells", "without stats", "without metrics",
    ]  # fmt: skip
    assert set(unpacked(tmp_path / "bundle.tar.gz")) == {
        "configuration-here.json", "log.txt", "missing.json", "version.json",
    }  # fmt: skip


def test_a_configuration_with_mistakes_is_told_in_the_bundle(
    planted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("kafka:\n  sasl_password: [word1 word2]\n")
    where = f"http://127.0.0.1:{free_port()}"
    assert main.main(["debug", "bundle", "--api", where, *planted]) == exits.OTHER
    assert "kafka.sasl_password: expected" in capsys.readouterr().err
    assert "word1" not in unpacked(tmp_path / "bundle.tar.gz")["missing.json"]


def test_an_archive_that_cannot_be_written(planted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    where = f"http://127.0.0.1:{free_port()}"
    planted[-1] = "/no/such/x"
    assert main.main(["debug", "bundle", *planted, "--api", where]) == exits.USAGE
    assert "/no/such/x: No such file" in capsys.readouterr().err


def test_short_secrets_do_not_tear_words_apart() -> None:
    assert Mask(["a", ""]).text("a banana") == "a banana"
