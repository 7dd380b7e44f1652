"""What users saw is told as they saw it."""

from tests.rehearsal.pauses import Case, Seen, Silence, see, silences


def test_a_silence_begins_with_the_last_answer_when_somebody_waited_already() -> None:
    cases = [Case(0, 0.0, 1.0), Case(0, 0.5, 4.0)]
    assert silences(cases) == [Silence(0.0, 1.0), Silence(1.0, 3.0)]


def test_nobody_waits_before_somebody_has_asked() -> None:
    cases = [Case(0, 0.0, 1.0), Case(0, 10.0, 11.0)]
    assert silences(cases)[1] == Silence(10.0, 1.0)


def test_who_is_answered_late_has_waited_through_the_answers_of_others() -> None:
    # The second answer is to one that came at 9; but another had been waiting since 0.
    cases = [Case(0, 0.0, 30.0), Case(0, 0.0, 2.0), Case(0, 9.0, 10.0)]
    assert silences(cases)[1:] == [Silence(2.0, 8.0), Silence(10.0, 20.0)]


def test_a_partition_may_be_silent_while_others_are_answered() -> None:
    cases = [Case(0, float(second), second + 0.5) for second in range(10)] + [Case(1, 0.0, 8.0)]
    assert see(cases, 0.0, 10.0) == Seen(
        jobs=11, silence_s=1.0, partition_silence_s=8.0, wait_s=0.5, longest_wait_s=8.0
    )


def test_a_silence_belongs_to_the_scene_in_which_it_began() -> None:
    cases = [Case(0, 0.0, 1.0), Case(0, 0.5, 9.0), Case(0, 8.0, 9.5)]
    assert see(cases, 0.0, 5.0).silence_s == 8.0
    assert see(cases, 5.0, 10.0).silence_s == 0.5


def test_nothing_was_seen_of_nothing() -> None:
    assert see([], 0.0, 10.0) == Seen(0, 0.0, 0.0, 0.0, 0.0)
