"""The dialogue, as tables: what may be sent, what may be said, where each leads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import LocalProtocolError, PeerProtocolError
from pooler.ftp.dialogue import Dialogue, Farewell, Final, Preliminary
from pooler.ftp.state import GREETING, TABLE, State
from pooler.ftp.wire import Command, Reply

LOGIN = ["< 220", "> USER", "< 331", "> PASS", "< 230"]


def play(*lines: str, max_outstanding: int = 1) -> Dialogue:
    """Play a dialogue: ``> VERB`` is sent, ``< 200`` is received, ``*`` is the transport's change."""
    dialogue = Dialogue(max_outstanding=max_outstanding)
    for line in lines:
        step(dialogue, line)
    return dialogue


def step(dialogue: Dialogue, line: str) -> None:
    if line == "*":
        dialogue.transport_changed()
    elif line.startswith("> "):
        dialogue.send(Command(line[2:]))
    else:
        dialogue.receive(line[2:].encode() + b" text\r\n")


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], State.CONNECTED),
        (["< 120"], State.CONNECTED),
        (["< 120", "< 220"], State.GREETED),
        (["< 421"], State.CLOSED),
        (["< 554"], State.CLOSED),
        (["< 220", "> USER"], State.GREETED),
        (["< 220", "> USER", "< 230"], State.READY),
        (["< 220", "> USER", "< 232"], State.READY),
        (["< 220", "> USER", "< 331"], State.WANTS_PASSWORD),
        (["< 220", "> USER", "< 332"], State.WANTS_ACCOUNT),
        (["< 220", "> USER", "< 530"], State.GREETED),
        (["< 220", "> USER", "< 331", "> PASS", "< 530"], State.GREETED),
        (["< 220", "> USER", "< 331", "> PASS", "< 332"], State.WANTS_ACCOUNT),
        (["< 220", "> USER", "< 331", "> PASS", "< 332", "> ACCT", "< 230"], State.READY),
        (["< 220", "> USER", "< 331", "> PASS", "< 202"], State.READY),
        (["< 220", "> HOST", "< 220"], State.GREETED),
        (["< 220", "> AUTH", "< 234"], State.SECURING),
        (["< 220", "> AUTH", "< 234", "*"], State.GREETED),
        (["< 220", "> AUTH", "< 502"], State.GREETED),
        (LOGIN, State.READY),
        ([*LOGIN, "> RNFR", "< 350"], State.RENAMING),
        ([*LOGIN, "> RNFR", "< 550"], State.READY),
        ([*LOGIN, "> RNFR", "< 350", "> RNTO", "< 250"], State.READY),
        ([*LOGIN, "> RNFR", "< 350", "> RNTO", "< 553"], State.READY),
        ([*LOGIN, "> REST", "< 350"], State.RESTARTING),
        ([*LOGIN, "> REST", "< 350", "> EPSV", "< 229"], State.RESTARTING),
        ([*LOGIN, "> REST", "< 350", "> RETR", "< 150"], State.TRANSFERRING),
        ([*LOGIN, "> REST", "< 350", "> RETR", "< 550"], State.READY),
        ([*LOGIN, "> RETR"], State.READY),
        ([*LOGIN, "> RETR", "< 150"], State.TRANSFERRING),
        ([*LOGIN, "> RETR", "< 150", "< 150"], State.TRANSFERRING),
        ([*LOGIN, "> RETR", "< 150", "< 226"], State.READY),
        ([*LOGIN, "> RETR", "< 226"], State.READY),
        ([*LOGIN, "> STOR", "< 125", "< 426"], State.READY),
        ([*LOGIN, "> STOR", "< 553"], State.READY),
        ([*LOGIN, "> CCC", "< 200"], State.CLEARING),
        ([*LOGIN, "> CCC", "< 200", "*"], State.READY),
        ([*LOGIN, "> CCC", "< 533"], State.READY),
        ([*LOGIN, "> AUTH", "< 234", "*"], State.GREETED),
        ([*LOGIN, "> REIN", "< 220"], State.GREETED),
        ([*LOGIN, "> USER", "< 530"], State.GREETED),
        ([*LOGIN, "> QUIT", "< 221"], State.CLOSED),
        ([*LOGIN, "> SIZE", "< 421"], State.CLOSED),
        ([*LOGIN, "< 421"], State.CLOSED),
    ],
)
def test_where_a_dialogue_leads(lines: list[str], state: State) -> None:
    assert play(*lines).state is state


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        ([], "USER"),  # the server speaks first
        (["< 220"], "PASS"),
        (["< 220"], "RETR"),
        (["< 220"], "CCC"),
        (["< 220", "> USER", "< 331"], "NOOP"),
        (["< 220", "> AUTH", "< 234"], "USER"),
        (["< 220", "> AUTH"], "USER"),
        (LOGIN, "HOST"),
        (LOGIN, "RNTO"),
        (LOGIN, "BLAH"),
        ([*LOGIN, "> RNFR", "< 350"], "NOOP"),
        ([*LOGIN, "> REST", "< 350"], "SIZE"),
        ([*LOGIN, "> SIZE"], "SIZE"),
        ([*LOGIN, "> RETR", "< 150"], "RETR"),
        ([*LOGIN, "> RETR", "< 150", "> NOOP"], "NOOP"),
        ([*LOGIN, "> QUIT", "< 221"], "NOOP"),
        ([*LOGIN, "< 421"], "NOOP"),
        ([*LOGIN, "> CCC", "< 200"], "NOOP"),
    ],
)
def test_what_may_not_be_sent(lines: list[str], command: str) -> None:
    dialogue = play(*lines)
    before = repr(dialogue)
    with pytest.raises(LocalProtocolError):
        dialogue.send(Command(command))
    assert repr(dialogue) == before


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ([], "< 350"),
        (["< 220"], "< 220"),
        (["< 220", "> USER"], "< 150"),
        (["< 220", "> USER"], "< 350"),
        (["< 220", "> AUTH"], "< 334"),
        (LOGIN, "< 226"),
        (LOGIN, "< 150"),
        ([*LOGIN, "> SIZE"], "< 150"),
        ([*LOGIN, "> SIZE"], "< 350"),
        ([*LOGIN, "> RNFR"], "< 250"),
        ([*LOGIN, "> RETR"], "< 350"),
        ([*LOGIN, "> RETR", "< 150"], "< 350"),
        ([*LOGIN, "> RETR", "< 150", "< 226"], "< 226"),
    ],
)
def test_what_the_server_may_not_say(lines: list[str], reply: str) -> None:
    dialogue = play(*lines)
    with pytest.raises(PeerProtocolError):
        step(dialogue, reply)
    assert dialogue.state is State.CLOSED


@pytest.mark.parametrize("lines", [[], ["< 220"], LOGIN, ["< 220", "> AUTH"]])
def test_the_transport_changes_in_turn_only(lines: list[str]) -> None:
    with pytest.raises(LocalProtocolError):
        play(*lines).transport_changed()


def test_events_name_the_command_that_they_answer() -> None:
    dialogue = Dialogue()
    assert dialogue.receive(b"220 hi\r\n") == [Final(None, Reply(220, (b"hi",)))]
    user = Command("USER", b"x")
    assert dialogue.send(user) == b"USER x\r\n"
    assert dialogue.receive(b"23") == []
    assert dialogue.receive(b"0 in\r\n") == [Final(user, Reply(230, (b"in",)))]
    assert dialogue.idle
    retr = Command("RETR", b"/a")
    dialogue.send(retr)
    assert dialogue.receive(b"150 go\r\n226 done\r\n") == [
        Preliminary(retr, Reply(150, (b"go",))),
        Final(retr, Reply(226, (b"done",))),
    ]
    assert dialogue.receive(b"421 bye\r\n") == [Farewell(Reply(421, (b"bye",)))]
    assert dialogue.receive(b"whatever\r\n") == []


def test_a_reply_that_has_begun_keeps_a_dialogue_from_being_idle() -> None:
    dialogue = play(*LOGIN)
    dialogue.receive(b"42")
    assert not dialogue.idle


@pytest.mark.parametrize("command", ["AUTH", "CCC"])
def test_what_stands_behind_a_change_of_transport_is_thrown_away(command: str) -> None:
    dialogue = play(*LOGIN, f"> {command}")
    code = b"234" if command == "AUTH" else b"200"
    events = dialogue.receive(code + b" go\r\n230 injected\r\n25")
    assert [event.reply.code for event in events] == [int(code)]
    assert dialogue.receive(b"250 injected too\r\n") == []
    dialogue.transport_changed()
    assert dialogue.idle
    dialogue.send(Command("NOOP"))
    assert [event.reply.code for event in dialogue.receive(b"200 yes\r\n")] == [200]


@pytest.mark.parametrize(
    ("beside", "replies", "answers"),
    [
        ("NOOP", [200, 226], ["NOOP", "RETR"]),
        ("NOOP", [226, 200], ["RETR", "NOOP"]),
        ("NOOP", [500, 226], ["NOOP", "RETR"]),
        ("NOOP", [426, 200], ["RETR", "NOOP"]),
        ("STAT", [213, 226], ["STAT", "RETR"]),
        ("ABOR", [426, 226], ["RETR", "ABOR"]),
        ("ABOR", [226, 225], ["RETR", "ABOR"]),
    ],
)
def test_commands_beside_a_transfer(beside: str, replies: list[int], answers: list[str]) -> None:
    dialogue = play(*LOGIN, "> RETR", "< 150", f"> {beside}")
    verbs = []
    for code in replies:
        (event,) = dialogue.receive(b"%d x\r\n" % code)
        assert isinstance(event, Final)
        assert event.command is not None
        verbs.append(event.command.verb)
    assert verbs == answers
    assert dialogue.state is State.READY
    assert dialogue.idle


def test_quit_beside_a_transfer_ends_it_all() -> None:
    assert play(*LOGIN, "> RETR", "< 150", "> QUIT", "< 226", "< 221").state is State.CLOSED


def test_several_commands_are_answered_in_order() -> None:
    dialogue = play(*LOGIN, "> SIZE", "> RNFR", "> RNTO", "> EPSV", max_outstanding=4)
    with pytest.raises(LocalProtocolError):
        dialogue.send(Command("NOOP"))
    events = dialogue.receive(b"213 1\r\n350 go\r\n250 done\r\n229 here\r\n")
    assert [event.command.verb for event in events if isinstance(event, Final) and event.command] == [
        *("SIZE", "RNFR", "RNTO", "EPSV")
    ]
    assert dialogue.state is State.READY


def test_a_command_behind_one_that_failed_is_refused_in_its_turn() -> None:
    dialogue = play(*LOGIN, "> RNFR", "> RNTO", "> RETR", "< 550", "< 503", "< 150", max_outstanding=3)
    assert dialogue.state is State.TRANSFERRING


@pytest.mark.parametrize(
    ("first", "second"),
    [("USER", "PASS"), ("AUTH", "USER"), ("QUIT", "NOOP"), ("CCC", "NOOP"), ("RNFR", "SIZE")],
)
def test_what_lets_nothing_be_sent_behind_it(first: str, second: str) -> None:
    dialogue = play(*LOGIN, f"> {first}", max_outstanding=9)
    with pytest.raises(LocalProtocolError):
        dialogue.send(Command(second))


def test_a_malformed_reply_makes_the_dialogue_suspect() -> None:
    dialogue = play(*LOGIN, "> STOR")
    assert dialogue.receive(b"553-full\r\n150 really\r\n") == []
    assert dialogue.in_doubt
    assert not dialogue.suspect
    (event,) = dialogue.settle()
    assert event.reply.code == 553
    assert dialogue.suspect


@pytest.mark.parametrize("code", [226, 426])
def test_a_refused_transfer_may_be_reported_twice(code: int) -> None:
    """pyftpdlib does: 550, and 426 or 226 once the data connection is closed, amid what comes next."""
    dialogue = play(*LOGIN)
    dialogue.send(Command("STOR", b"/f"))
    assert [event.reply.code for event in dialogue.receive(b"550 No such folder.\r\n")] == [550]
    dialogue.send(Command("MKD", b"/d"))
    assert dialogue.receive(b"%d Aborted.\r\n" % code) == []
    assert [event.reply.code for event in dialogue.receive(b'257 "/d" made.\r\n')] == [257]
    dialogue.send(Command("SIZE", b"/f"))
    with pytest.raises(PeerProtocolError):  # once, not twice
        dialogue.receive(b"%d Aborted.\r\n213 5\r\n" % code)


def test_the_end_of_a_transfer_is_never_taken_for_an_earlier_one() -> None:
    dialogue = play(*LOGIN)
    dialogue.send(Command("STOR", b"/f"))
    dialogue.receive(b"550 No such folder.\r\n")
    dialogue.send(Command("STOR", b"/g"))
    assert [event.reply.code for event in dialogue.receive(b"425 No data connection.\r\n")] == [425]


def test_a_closed_dialogue_is_silent() -> None:
    dialogue = play(*LOGIN, "> SIZE")
    dialogue.close()
    assert dialogue.idle
    assert dialogue.receive(b"213 1\r\n") == []
    with pytest.raises(LocalProtocolError):
        dialogue.send(Command("NOOP"))


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(State)
    for state, rows in TABLE.items():
        for verb, row in rows.items():
            if verb != GREETING:
                Command(verb)
            assert all(digits[0] in "12345" and digits.isdigit() for digits in row), (state, verb)
            if state is not State.TRANSFERRING and verb != GREETING:
                # Every command may be done, or lead on, and every one may be refused.
                assert {"4", "5"} <= set(row)
                assert any(digits[0] in "23" for digits in row)
    # RFC 959 §4.1: none of its commands is missing.
    rfc_959 = (
        "USER PASS ACCT CWD CDUP SMNT QUIT REIN PORT PASV TYPE STRU MODE RETR STOR STOU APPE ALLO REST RNFR"
        " RNTO ABOR DELE RMD MKD PWD LIST NLST SITE SYST STAT HELP NOOP"
    )
    assert set(rfc_959.split()) <= {verb for rows in TABLE.values() for verb in rows}


verbs = st.sampled_from(sorted({verb for rows in TABLE.values() for verb in rows if verb}))
codes = st.sampled_from([120, 150, 200, 213, 220, 226, 230, 234, 331, 332, 350, 421, 426, 450, 500, 550])


@given(st.lists(st.one_of(verbs, codes), max_size=40), st.integers(1, 4))
def test_no_play_leaves_the_table(script: list[str | int], max_outstanding: int) -> None:
    dialogue = Dialogue(max_outstanding=max_outstanding)
    for line in script:
        try:
            if isinstance(line, int):
                dialogue.receive(b"%d x\r\n" % line)
            else:
                dialogue.send(Command(line))
        except LocalProtocolError:
            pass
        except PeerProtocolError:
            assert dialogue.state is State.CLOSED
            return
        assert len(dialogue._owed) <= max_outstanding + 1
