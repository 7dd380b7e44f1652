from tests.chaos.schedule import EVERY_S, Cast, schedule
from tests.chaos.stage import SETTINGS

CAST = Cast(4, 3, 3, ("broker-1", "broker-2", "broker-3", "vsftpd", "vsftpd data"))


def test_a_seed_gives_the_same_acts_each_time_and_another_seed_gives_others() -> None:
    assert schedule(1, 60, CAST) == schedule(1, 60, CAST)
    assert schedule(1, 60, CAST) != schedule(2, 60, CAST)


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    assert schedule(1, 60, CAST)[:40] == schedule(1, 20, CAST)


def test_something_happens_every_half_second() -> None:
    acts = schedule(3, 60, CAST)
    assert [act.at_s for act in acts] == [EVERY_S * number for number in range(1, 121)]


def test_everything_happens_to_everybody() -> None:
    acts = schedule(4, 3600, CAST)
    struck = {(act.what, act.target) for act in acts if not act.kinds}
    for what, count in {"kill": 4, "freeze": 4, "leave": 4, "kill broker": 3, "kill server": 3}.items():
        assert {target for deed, target in struck if deed == what} == set(range(count))
    suffering = {(act.what, act.kinds) for act in acts if act.kinds}
    for what in ("cut", "stall", "slow"):
        kinds = {kinds for deed, kinds in suffering if deed == what}
        assert kinds >= {(kind,) for kind in CAST.kinds}
        assert kinds >= {CAST.kinds[:3], CAST.kinds[3:]}
    assert {act.how for act in acts if act.what == "cut"} == {"RST", "FIN"}


def test_who_is_frozen_misses_a_session_timeout() -> None:
    frozen = [act.lasts_s for act in schedule(5, 3600, CAST) if act.what == "freeze"]
    assert min(frozen) * 1000 > SETTINGS["kafka"]["session_timeout_ms"]
