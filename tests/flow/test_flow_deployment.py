"""What is known of the whole deployment stays within bounds, whatever stands on the topic."""

import pytest

from pooler.flow import deployment as known
from pooler.flow.deployment import Deployment
from pooler.model.control import Gone, Knob, Login, Mode, PodNews, Setting, Trial


def news(incarnation: str, every_s: float = 3.0) -> PodNews:
    return PodNews(incarnation, f"pod-{incarnation}", 1, 1.0, "1", every_s)


def login(digest: str, trial: Trial, by: str = "a") -> Login:
    return Login("far", digest, trial, by, f"pod-{by}", 1.0, "530 no")


def test_the_newest_of_each_setting_holds_until_it_is_taken_back() -> None:
    deployment = Deployment(["far"])
    assert (deployment.mode("far"), deployment.number("far", Knob.MAX_SESSIONS)) == (Mode.RUN, None)
    deployment.hear(Setting("far", Knob.WORK, Mode.DRAIN, "anna", 1.0), 0.0)
    deployment.hear(Setting("far", Knob.MAX_SESSIONS, 3, "anna", 1.0), 0.0)
    deployment.hear(Setting("far", Knob.MAX_SESSIONS, 5, "bert", 2.0), 0.0)
    assert (deployment.mode("far"), deployment.number("far", Knob.MAX_SESSIONS)) == (Mode.DRAIN, 5)
    deployment.hear(Gone("remote", ("far", "max_sessions")), 0.0)
    assert (deployment.mode("far"), deployment.number("far", Knob.MAX_SESSIONS)) == (Mode.DRAIN, None)


def test_what_is_said_of_remotes_that_are_not_configured_yet_is_kept_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known, "_SETTINGS", 5)
    monkeypatch.setattr(known, "_REMOTES", 5)
    deployment = Deployment(["far"])
    for number in range(20):
        deployment.hear(Setting(f"near-{number}", Knob.MAX_SESSIONS, 3, "anna", 1.0), 0.0)
        deployment.hear(Login(f"near-{number}", "abc", Trial.REFUSED, "a", "pod-a", 1.0), 0.0)
    kept = [n for n in range(20) if deployment.setting(f"near-{n}", Knob.MAX_SESSIONS) is not None]
    refused = [n for n in range(20) if deployment.refusals(f"near-{n}")]
    assert kept == refused == list(range(5))
    # Those that are configured are heard all the same.
    deployment.hear(Setting("far", Knob.MAX_SESSIONS, 4, "anna", 1.0), 0.0)
    assert deployment.number("far", Knob.MAX_SESSIONS) == 4


def test_logins_and_pods_have_a_bound() -> None:
    deployment = Deployment(["far"])
    for number in range(100):
        deployment.hear(login(f"{number}", Trial.REFUSED), 0.0)
    assert [refusal.digest for refusal in deployment.refusals("far")] == [str(n) for n in range(92, 100)]
    for number in range(3000):
        deployment.hear(news(f"{number}"), 0.0)
    assert len(deployment.pods) == 2000


@pytest.mark.parametrize(("after_s", "silent"), [(10.0, False), (11.0, True)])
def test_who_has_missed_three_announcements_is_silent(after_s: float, *, silent: bool) -> None:
    deployment = Deployment(["far"])
    deployment.hear(news("a"), 100.0)
    assert deployment.pods["a"].is_silent(100.0 + after_s) is silent


def test_the_first_who_says_so_tries_a_secret_unless_it_is_silent() -> None:
    deployment = Deployment(["far"])
    for name in "ab":
        deployment.hear(news(name), 0.0)
    deployment.hear(login("x", Trial.TRIED, "a"), 0.0)
    deployment.hear(login("x", Trial.TRIED, "b"), 0.0)
    found = deployment.login("far", "x", 5.0)
    assert found is not None
    assert found.by == "a"
    assert deployment.login("far", "x", 20.0) is None
    deployment.hear(news("b"), 20.0)
    deployment.hear(login("x", Trial.TRIED, "b"), 20.0)
    found = deployment.login("far", "x", 21.0)
    assert found is not None
    assert found.by == "b"


def test_what_has_come_of_a_secret_is_not_undone_by_who_would_have_tried_it_next() -> None:
    deployment = Deployment(["far"])
    for name in "ab":
        deployment.hear(news(name), 0.0)
    deployment.hear(login("x", Trial.REFUSED, "a"), 0.0)
    deployment.hear(login("x", Trial.TRIED, "b"), 0.0)
    found = deployment.login("far", "x", 0.0)
    assert found is not None
    assert found.trial is Trial.REFUSED
    deployment.hear(login("y", Trial.TAKEN, "a"), 0.0)
    deployment.hear(Gone("login", ("far", "y")), 0.0)
    found = deployment.login("far", "y", 0.0)
    assert found is not None
    assert found.trial is Trial.TAKEN
    deployment.hear(Gone("login", ("far", "x")), 0.0)
    assert deployment.login("far", "x", 0.0) is None
