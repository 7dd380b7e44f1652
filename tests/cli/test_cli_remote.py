"""``pooler remote`` and ``pooler top``, asking the admin API over a real socket."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pooler.cli import exits, main
from pooler.errors import BusError
from pooler.flow.deployment import Deployment
from pooler.model.control import Knob, Login, Mode, PodNews, RemoteNews, Setting, Trial
from pooler.ops.http.deployment import describe
from pooler.ops.http.service import ProbeStatus
from tests.support.command import Command
from tests.support.process import free_port
from tests.support.service_double import ServiceDouble


def together(**wanted: Setting) -> Deployment:
    """Make a deployment of two pods that speak and one that does not."""
    deployment = Deployment(["site-a", "site-b"])
    for number in range(3):
        remotes = {"site-a": RemoteNews("closed", False, 2, 1, 0, 3, 7, 1.5, 2_000_000)}
        news = PodNews(f"cafe{number}", f"pooler-{number}", 1, 1.0, "1.2.3", 3.0, {}, remotes)
        deployment.hear(news, 100.0 if number else 80.0)
    for setting in wanted.values():
        deployment.hear(setting, 100.0)
    return deployment


async def test_those_in_trouble_come_first(command: Command, service: ServiceDouble) -> None:
    service.pods = describe(together(), "cafe1", 101.0)
    code, out, err = await command("remote", "list")
    assert (code, err) == (exits.OK, "")
    assert [line.split() for line in out.splitlines()] == [
        ["REMOTE", "STATE", "SESSIONS", "BUSY", "WAITING", "FILES/S", "MB/S", "NOTE"],
        ["site-b", "open", "0", "0", "0", "0.0", "0.0", "no", "answer"],
        ["site-a", "ok", "6", "4", "14", "3.0", "4.0"],
    ]


async def test_a_pod_without_a_control_topic_tells_of_itself(command: Command) -> None:
    code, out, _ = await command("remote", "list", "-o", "json")
    assert code == exits.OK
    site_b, site_a = json.loads(out)
    assert site_a == {
        "remote": "site-a", "state": "ok", "sessions": 2, "busy": 1, "waiting": 7,
        "files_per_s": None, "bytes_per_s": None, "note": "",
    }  # fmt: skip
    assert (site_b["state"], site_b["note"]) == ("open", "no answer")


@pytest.mark.parametrize(
    ("said", "state", "note"),
    [
        (Setting("site-a", Knob.WORK, Mode.PAUSE, "anna", 0.0, "they asked"), "pause", "by anna: they asked"),
        (Setting("site-a", Knob.WORK, Mode.DRAIN, "anna", 0.0, ""), "drain", "by anna"),
        (Login("site-a", "abc", Trial.REFUSED, "cafe1", "pooler-1", 60.0, "530 \x1b[2Jno"), "refused",
         "pooler-1: 530 \\x1b[2Jno"),
    ],
)  # fmt: skip
async def test_why_a_remote_does_not_work(
    command: Command, service: ServiceDouble, said: Setting | Login, state: str, note: str
) -> None:
    deployment = together()
    deployment.hear(said, 100.0)
    service.pods = describe(deployment, "cafe1", 101.0)
    _, out, _ = await command("remote", "list")
    (line,) = [line for line in out.splitlines() if line.startswith("site-a")]
    assert line.split(maxsplit=2)[1] == state
    assert line.rstrip().endswith(note)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (
            ["pause", "site-a", "--why", "they asked"],
            ("work", "site-a", "pause", "operate-name", "they asked"),
        ),
        (["resume", "site-a"], ("work", "site-a", "run", "operate-name", "")),
        (["drain", "site-a"], ("work", "site-a", "drain", "operate-name", "")),
        (["reset", "site-b"], ("breaker", "site-b", "None", "operate-name", "")),
        (["limit", "site-a", "--total", "5"], ("max_sessions_total", "site-a", "5", "operate-name", "")),
        (["limit", "site-a", "--sessions", "0"], ("max_sessions", "site-a", "None", "operate-name", "")),
        (["bandwidth", "site-a", "10M"], ("bandwidth", "site-a", "10485760", "operate-name", "")),
        (["bandwidth", "site-a", "off"], ("bandwidth", "site-a", "None", "operate-name", "")),
    ],
)
async def test_what_is_wanted_of_a_remote(
    command: Command, service: ServiceDouble, words: list[str], call: tuple[str, ...]
) -> None:
    code, out, err = await command("remote", *words)
    assert (code, err) == (exits.OK, "")
    assert service.calls == [call]
    assert out.startswith(f"{words[1]}: ")
    assert out.endswith("in the pod that was asked, as there is no control topic\n")


async def test_what_is_wanted_holds_for_all_pods(command: Command, service: ServiceDouble) -> None:
    service.pods = describe(together(), "cafe1", 101.0)
    assert await command("remote", "pause", "site-a") == (exits.OK, "site-a: paused, for all pods\n", "")


async def test_all_that_is_known_of_a_remote(command: Command, service: ServiceDouble) -> None:
    service.pods = describe(together(), "cafe1", 101.0)
    code, out, _ = await command("remote", "show", "site-a", "-o", "json")
    found = json.loads(out)
    assert code == exits.OK
    assert found["limits"]["decisions"][0]["reason"] == "more sessions do not help"
    assert [(pod["pod"], pod["silent"], pod["busy"]) for pod in found["pods"]] == [
        ("pooler-0", True, 2), ("pooler-1", False, 2), ("pooler-2", False, 2),
    ]  # fmt: skip
    assert found["together"]["sessions"] == 6
    _, out, _ = await command("remote", "show", "site-a")
    assert ["reason", "more sessions do not help"] in [line.split(maxsplit=1) for line in out.splitlines()]


@pytest.mark.parametrize(
    "words", [["show", "site_a"], ["pause", "site_a"], ["limit", "site_a", "--total", "3"]]
)
async def test_a_name_that_was_mistyped(command: Command, service: ServiceDouble, words: list[str]) -> None:
    assert await command("remote", *words) == (
        exits.USAGE, "", "site_a: no such remote (did you mean site-a?)\n",
    )  # fmt: skip
    assert service.calls == []


@pytest.mark.parametrize("name", ["..", "a/b", "../status", "%2e%2e", "사이트"])
async def test_a_name_leads_nowhere_else(command: Command, name: str) -> None:
    code, out, err = await command("remote", "show", name)
    assert (code, out) == (exits.USAGE, "")
    assert "no such remote" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["limit", "site-a"], "Expected max_sessions, max_sessions_total, or both."),
        (["limit", "site-a", "--total", "-1"], "Expected a number from 0 to"),
        (["bandwidth", "site-a", "10"], "expected a size with its unit"),
    ],
)
async def test_what_cannot_be_meant(
    command: Command, service: ServiceDouble, words: list[str], said: str
) -> None:
    code, out, err = await command("remote", *words)
    assert (code, out) == (exits.USAGE, "")
    assert said in err
    assert service.calls == []


async def test_a_token_that_does_not_allow_it(
    command: Command, service: ServiceDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reader").write_text("read")
    reader = str(tmp_path / "reader")
    assert (await command("remote", "list", token=reader))[0] == exits.OK
    code, out, err = await command("remote", "pause", "site-a", token=reader)
    assert (code, out) == (exits.JOBS_FAILED, "")
    assert "scope operate does" in err
    monkeypatch.setenv("POOLER_API_TOKEN", "wrong")
    code, _, err = await command("remote", "list", token=None)
    assert code == exits.JOBS_FAILED
    assert "This token is not known." in err
    assert service.calls == []


async def test_a_token_of_the_environment(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await command("remote", "list", token=None))[0] == exits.JOBS_FAILED
    monkeypatch.setenv("POOLER_API_TOKEN", "operate")
    assert (await command("remote", "list", token=None))[0] == exits.OK


@pytest.mark.parametrize("text", [None, "", "a\nb", "ä"])
async def test_a_token_file_that_is_none(command: Command, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "other"
    if text is not None:
        path.write_text(text)
    code, out, err = await command("remote", "list", token=str(path))
    assert (code, out) == (exits.FATAL, "")
    assert err.startswith(f"{path}: ")


async def test_what_may_pass_has_a_code_of_its_own(command: Command, service: ServiceDouble) -> None:
    service.deaf = BusError("no answer within 9 s")
    code, _, err = await command("remote", "pause", "site-a")
    assert code == exits.TEMPORARY
    assert "no answer within 9 s" in err


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    where = f"http://127.0.0.1:{free_port()}"
    for words in (["remote", "list"], ["remote", "pause", "x"], ["top"]):
        assert main.main([*words, "--api", where]) == exits.TEMPORARY
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"{where}: no answer: ")


@pytest.mark.parametrize("where", ["127.0.0.1:8080", "ftp://x", "http://", "http://a b"])
def test_an_address_that_is_none(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["remote", "list", "--api", where]) in {exits.FATAL, exits.TEMPORARY}
    out, err = capsys.readouterr()
    assert out == ""
    assert where in err


async def test_the_figures_of_all(command: Command, service: ServiceDouble) -> None:
    service.pods = describe(together(), "cafe1", 101.0)
    code, out, _ = await command("top", "--once")
    assert code == exits.OK
    look = json.loads(out)
    assert look["pods"] == {"together": True, "heard": ["pooler-1", "pooler-2"], "silent": ["pooler-0"]}
    assert [remote["remote"] for remote in look["remotes"]] == ["site-b", "site-a"]


def test_the_document_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["openapi"]) == exits.OK
    found = json.loads(capsys.readouterr().out)
    assert found["openapi"].startswith("3.1")
    assert {"/v1/remotes/{name}/pause", "/v1/pods", "/livez"} <= set(found["paths"])


async def test_a_probe_tells_what_came_of_it(command: Command, service: ServiceDouble) -> None:
    code, out, err = await command("remote", "probe", "site-a")
    assert (code, err) == (exits.OK, "")
    assert "192.0.2.1:21" in out
    assert "220 hello" in out
    assert ("probe", "site-a") in service.calls
    code, out, _ = await command("remote", "probe", "site-a", "-o", "json")
    assert json.loads(out)["ok"] is True


async def test_a_probe_that_failed_is_told_by_the_exit_code(
    command: Command, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.probe

    async def fails(name: str) -> ProbeStatus:
        return replace(await real(name), ok=False, error_code="LOGIN_REFUSED", error="530 no")

    monkeypatch.setattr(service, "probe", fails)
    code, out, err = await command("remote", "probe", "site-a")
    assert (code, err) == (exits.TEMPORARY, "site-a: 530 no\n")
    assert "LOGIN_REFUSED" in out


async def test_a_probe_that_cannot_be_made_now(command: Command, service: ServiceDouble) -> None:
    service.busy_with = "in maintenance"
    code, out, err = await command("remote", "probe", "site-a")
    assert code == exits.OTHER
    assert out == ""
    assert "in maintenance" in err
