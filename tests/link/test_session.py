"""Sessions: pairing, deadlines, limits, what the peer may do."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.link.errors import (
    BadFrame,
    BadMessage,
    BadTerm,
    BadValue,
    LinkBusy,
    LinkClosed,
    LinkFault,
)
from bridge.link.framing import FrameReader, FrameWriter
from bridge.link.messages import (
    Call,
    Cast,
    Failure,
    Malformed,
    Message,
    Printed,
    Result,
    decode_message,
    encode_message,
)
from bridge.link.session import Session, SessionLimits, Settled
from bridge.link.terms import Atom, Opaque, atom_bytes, encode, put_integer

LARGE = 1_000_000


def frame(message: Message) -> bytes:
    return FrameWriter(LARGE).frame(encode_message(message))


HUGE = Atom("huge")


def raw(term: Any) -> bytes:
    """Frame a term, with an integer of 5,001 digits for each HUGE."""
    digits: list[bytes] = []
    put_integer(10**5000, digits)
    return FrameWriter(LARGE).frame(encode(term).replace(atom_bytes(HUGE), b"".join(digits)))


def sent(session: Session) -> list[Message | Malformed | Printed]:
    """Take what a session queued, as the peer reads it."""
    data = session.take()
    session.sent(len(data))
    reader = FrameReader(LARGE)
    reader.feed(data)
    return [decode_message(found) for found in reader.take()]


def new(**limits: int) -> Session:
    session = Session(SessionLimits(**limits))
    session.register(["echo"])
    return session


def failure(id: int, kind: str, text: str) -> Failure:
    return Failure(id, (Atom("python"), Atom(kind), text, []))


def test_a_call_goes_out_as_erlport_writes_it() -> None:
    session = new()
    session.call("handle", [{"n": 1}], 1000, "w")
    assert session.take().hex() == (
        "0000002e"
        "83"
        "6806"
        "770143"
        "6101"
        "7706627269646765"
        "770668616e646c65"
        "6c00000001"
        "7400000001"
        "6d000000016e"
        "6101"
        "6a"
        "77014e"
    )


def test_answers_find_their_calls_in_any_order() -> None:
    session = new()
    one, two = session.call("f", [], 1000, "one"), session.call("f", [], 1000, "two")
    answers = frame(Result(two, "second")) + frame(Result(one, "first"))
    assert list(session.receive(answers)) == [
        Settled("two", "second", None),
        Settled("one", "first", None),
    ]
    assert session.in_flight == 0


def test_a_failure_ends_its_call() -> None:
    session = new()
    id = session.call("f", [], 1000, "w")
    (event,) = session.receive(frame(Failure(id, (Atom("elixir"), Atom("crashed"), "no", []))))
    assert isinstance(event, Settled)
    assert isinstance(event.error, LinkFault)
    assert (event.error.language, event.error.kind, event.error.value) == (
        "elixir",
        "crashed",
        "no",
    )


def test_late_and_unknown_answers_are_counted_and_dropped() -> None:
    session = new()
    id = session.call("f", [], 1000, "w")
    assert session.expire(999) == []
    assert session.expire(1000) == ["w"]
    answers: list[Message] = [
        Result(id, 1),
        Failure(id, "late"),
        Result(77, 1),
        Result(-1, 1),
        Result(2**200, 1),
    ]
    assert list(session.receive(b"".join([frame(answer) for answer in answers]))) == []
    counters = session.counters
    assert (counters.timeouts, counters.late_answers, counters.unknown_answers) == (1, 2, 3)
    assert session.in_flight == 0


def test_deadlines_expire_in_their_own_order() -> None:
    session = new()
    session.call("f", [], 300, "late")
    session.call("f", [], 100, "early")
    answered = session.call("f", [], 50, "answered")
    list(session.receive(frame(Result(answered, 1))))
    assert session.next_deadline_ms() == 100
    assert session.expire(200) == ["early"]
    assert session.next_deadline_ms() == 300
    assert session.expire(1000) == ["late"]
    assert session.next_deadline_ms() is None


def test_answered_calls_do_not_pile_up_until_their_deadline() -> None:
    session = new()
    for _ in range(10_000):
        id = session.call("f", [], 10**9, "w")
        list(session.receive(frame(Result(id, 1))))
    assert len(session._deadlines) < 2000


def test_calls_in_flight_are_bounded() -> None:
    session = new(max_in_flight=2)
    ids = [session.call("f", [], 1000, "w") for _ in range(2)]
    with pytest.raises(LinkBusy, match="2 unanswered calls on the link, limit is 2"):
        session.call("f", [], 1000, "w")
    list(session.receive(frame(Result(ids[0], 1))))
    session.call("f", [], 1000, "w")


def test_unsent_bytes_are_bounded() -> None:
    session = new(max_queued_bytes=1000)
    while session.queued_bytes <= 1000:
        session.call("f", ["x" * 100], 1000, "w")
    with pytest.raises(LinkBusy, match="unsent bytes"):
        session.call("f", [], 1000, "w")
    with pytest.raises(LinkBusy, match="unsent bytes"):
        session.cast("x")
    session.sent(len(session.take()))
    assert session.queued_bytes == 0
    session.call("f", [], 1000, "w")


def test_a_call_that_is_refused_leaves_nothing_behind() -> None:
    session = new(max_frame_bytes=100)
    for args in (["x" * 200], [Atom("a")], [2**53]):
        with pytest.raises(BadValue):
            session.call("f", args, 1000, "w")
    assert (session.in_flight, session.queued_bytes, session.take()) == (0, 0, b"")


def test_only_registered_functions_of_the_bridge_are_called() -> None:
    session = new()
    calls = [
        Call(1, "os", "system", ["rm"]),
        Call(2, "bridge", "exec", []),
        Call(3, "builtins", "echo", []),
        Call(4, "bridge", "echo", []),
    ]
    assert list(session.receive(b"".join([frame(call) for call in calls]))) == [
        Call(4, "bridge", "echo", [])
    ]
    assert sent(session) == [
        failure(1, "unknown_function", "os:system is not registered"),
        failure(2, "unknown_function", "bridge:exec is not registered"),
        failure(3, "unknown_function", "builtins:echo is not registered"),
    ]


def test_calls_of_ours_that_run_are_bounded() -> None:
    session = new(max_in_flight=1)
    (call,) = session.receive(frame(Call(1, "bridge", "echo", [])))
    assert isinstance(call, Call)
    assert list(session.receive(frame(Call(2, "bridge", "echo", [])))) == []
    session.answer(call, "done")
    assert list(session.receive(frame(Call(3, "bridge", "echo", [])))) != []
    assert sent(session) == [
        failure(2, "overloaded", "1 calls run, limit is 1"),
        Result(1, "done"),
    ]


def test_a_ping_is_answered_whatever_else_runs() -> None:
    session = new(max_in_flight=1)
    list(session.receive(frame(Call(1, "bridge", "echo", []))))
    assert list(session.receive(frame(Call(2**70, "bridge", "ping", [])))) == []
    assert repr(sent(session)) == repr([Result(2**70, Atom("pong"))])


def test_a_ping_of_ours_is_not_held_back() -> None:
    session = new(max_in_flight=1)
    session.call("f", [], 1000, "w")
    session.ping("ping")
    (_, ping) = sent(session)
    assert isinstance(ping, Call)
    assert ping.function == "ping"
    assert list(session.receive(frame(Result(ping.id, Atom("pong"))))) == [
        Settled("ping", Atom("pong"), None)
    ]


def test_nothing_passes_before_hello_was_answered() -> None:
    session = new()
    session.register(["hello"])
    with pytest.raises(LinkClosed, match="has not said hello"):
        session.call("f", [], 1000, "w")
    assert list(session.receive(frame(Call(1, "bridge", "echo", [])))) == []
    (hello,) = session.receive(frame(Call(2, "bridge", "hello", [{}])))
    assert isinstance(hello, Call)
    assert list(session.receive(frame(Call(3, "bridge", "echo", [])))) == []
    session.answer(hello, {})
    assert list(session.receive(frame(Call(4, "bridge", "echo", [])))) != []
    session.call("f", [], 1000, "w")
    refused = [failure(id, "no_hello", "echo before hello was answered") for id in (1, 3)]
    assert sent(session)[:3] == [*refused, Result(2, {})]


def test_a_hello_that_failed_is_no_hello() -> None:
    session = new()
    session.register(["hello"])
    (hello,) = session.receive(frame(Call(2, "bridge", "hello", [{}])))
    assert isinstance(hello, Call)
    session.fail(hello, "another protocol")
    assert not session.greeted


def test_what_is_no_json_fails_its_call_and_nothing_else() -> None:
    session = new()
    id = session.call("f", [], 1000, "w")
    other = session.call("f", [], 1000, "other")
    session.take()
    stream = (
        raw((Atom("r"), id, (1,)))
        + raw((Atom("C"), 9, Atom("bridge"), Atom("echo"), [Atom("ok")]))
        + frame(Result(other, 1))
    )
    bad, good = session.receive(stream)
    assert isinstance(bad, Settled)
    assert isinstance(bad.error, BadTerm)
    assert good == Settled("other", 1, None)
    assert sent(session) == [failure(9, "bad_term", "expected a JSON value, got the atom 'ok'")]
    assert session.counters.malformed == 2


def test_a_value_that_is_no_json_becomes_a_failure() -> None:
    session = new(max_frame_bytes=300)
    for value, text in (
        ((1,), "expected a JSON value, got tuple"),
        ("x" * 400, "expected a frame of at most 300 bytes, got 413"),
    ):
        (call,) = session.receive(frame(Call(1, "bridge", "echo", [])))
        assert isinstance(call, Call)
        session.answer(call, value)
        assert sent(session) == [failure(1, "bad_value", text)]
    assert session.running == 0


def test_answers_nobody_reads_are_dropped_and_then_the_peer_is_given_up() -> None:
    session = new(max_queued_bytes=1000)
    call = Call(1, "bridge", "echo", [])

    def answer(times: int) -> None:
        for _ in range(times):
            list(session.receive(frame(call)))
            session.answer(call, "x" * 1100)

    answer(2)
    with pytest.raises(LinkBusy, match="unsent bytes on the link, limit is 2000"):
        answer(100)
    first, second, *_ = sent(session)
    assert first == Result(1, "x" * 1100)
    assert second == failure(1, "overloaded", "answers wait unread, this one was dropped")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\xff\xff\xff\xff", BadFrame),
        (b"\0\0\0\0", BadMessage),
        (b"\0\0\0\x06hello\n", BadMessage),
        (frame(Result(1, 1)) + b"\0\0\0\x04oops", BadMessage),
    ],
)
def test_a_stream_beyond_repair_is_an_error(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(new().receive(data))


@pytest.mark.parametrize(
    "bad",
    [
        # An error term is anybody's: `str` fails at an integer of more than 4,300 digits.
        raw((Atom("e"), 1, HUGE)),
        raw((Atom("e"), 1, [{"a": [1]}, (HUGE, HUGE)])),
        raw((Atom("e"), 1, (HUGE, HUGE, HUGE, []))),
        raw((Atom("e"), HUGE, "no")),
        raw((Atom("e"), HUGE)),
        raw((Atom("r"), HUGE, 1)),
        raw((Atom("r"), 1, "x"))[:-1] + b"\xff",
        raw((Atom("C"), HUGE, Atom("bridge"), Atom("nothing"), [])),
        raw((Atom("M"), HUGE)),
        # Not messages of a link at all, and terms that cannot be read.
        raw((Atom("x"), 1, 2)),
        raw((Atom("r"), 1.5, 1)),
        raw({"a": 1}),
        raw(()),
        b"\0\0\0\x01\x83",
        b"\0\0\0\x03\x83Px",
        b"\0\0\0\x09\x83F\x7f\xf0\0\0\0\0\0",
        b"\0\0\0\x11\x83h\3w\1ea\1F\x7f\xf0\0\0\0\0\0\0",
    ],
)
def test_a_frame_that_is_bad_by_itself_costs_no_other_call(bad: bytes) -> None:
    session = new()
    session.call("f", [], 1000, "named")
    others = [session.call("f", [], 1000, n) for n in range(20)]
    good = [frame(Result(id, n)) for n, id in enumerate(others)]
    events = list(session.receive(b"".join([*good[:10], bad, *good[10:]])))
    settled = [e for e in events if isinstance(e, Settled) and e.waiter != "named"]
    assert settled == [Settled(n, n, None) for n in range(20)]
    for event in events:
        assert not isinstance(event, Settled) or len(str(event.error)) < 1000


def test_a_failure_names_a_huge_integer_by_its_size() -> None:
    session = new()
    id = session.call("f", [], 1000, "w")
    (event,) = session.receive(raw((Atom("e"), id, (Atom("x"), Atom("y"), [HUGE], []))))
    assert isinstance(event, Settled)
    assert str(event.error) == "x y: [(an integer of 16610 bits)]"


def test_casts_and_lost_failures_have_no_answer() -> None:
    session = new()
    stream = frame(Cast(Atom("superseded"))) + frame(Failure(None, "a handler failed"))
    assert repr(list(session.receive(stream))) == repr([Cast(Atom("superseded"))])
    assert session.counters.lost_failures == 1
    assert session.take() == b""


def test_closing_gives_back_every_waiter() -> None:
    session = new()
    for name in ("one", "two"):
        session.call("f", [], 1000, name)
    assert session.close() == ["one", "two"]
    assert (session.in_flight, session.take(), session.next_deadline_ms()) == (0, b"", None)


def test_a_frame_beyond_the_limit_costs_its_own_call_alone() -> None:
    session = new(max_frame_bytes=200)
    session.call("theirs", [], 1000, "waiter")
    large, result = Call(7, "bridge", "echo", ["x" * 500]), Result(1, "y" * 500)
    stream = frame(large) + frame(result) + frame(Call(8, "bridge", "echo", ["z"]))
    settled, call = session.receive(stream)
    assert isinstance(settled, Settled)
    assert isinstance(settled.error, BadTerm)
    assert settled.error.message.startswith("expected a frame of at most 200 bytes, got ")
    assert isinstance(call, Call)
    assert call.id == 8
    _, failure = sent(session)
    assert isinstance(failure, Failure)
    assert (failure.id, failure.error[1]) == (7, Atom("bad_term"))


def test_a_failure_is_cut_to_fit_a_small_packet() -> None:
    session = Session(SessionLimits(), packet=1)
    session.register(["echo"])
    body = encode_message(Call(7, "bridge", "é" * 116, []))
    assert list(session.receive(FrameWriter(255, 1).frame(body))) == []
    reader = FrameReader(255, 1)
    reader.feed(session.take())
    [found] = reader.take()
    failure = decode_message(found)
    assert isinstance(failure, Failure)
    assert 200 < len(found) <= 255
    assert failure.error[2].startswith("bridge:éé")


def test_functions_of_other_modules_are_called_by_both_names() -> None:
    session = Session(SessionLimits())
    session.register(["sums:add"])
    [call] = session.receive(frame(Call(1, "sums", "add", [1, 2])))
    assert isinstance(call, Call)
    assert list(session.receive(frame(Call(2, "bridge", "add", [])))) == []
    session.call("pid_to_list", [1], 1000, "waiter", "erlang")
    refused, asked = sent(session)
    assert isinstance(refused, Failure)
    assert refused.error[2] == "bridge:add is not registered"
    assert isinstance(asked, Call)
    assert (asked.module, asked.function) == ("erlang", "pid_to_list")


def test_what_erlports_python_half_prints_is_counted() -> None:
    session = new()
    for data in ("text", list(b"text")):
        stream = FrameWriter(LARGE).frame(encode((Atom("P"), data)))
        assert list(session.receive(stream)) == []
    assert session.counters.printed == 2


def test_a_message_to_the_beam_names_whom_it_is_for() -> None:
    session = new()
    session.cast("text")
    session.cast("text", Atom("logger"))
    assert sent(session) == [Cast("text"), Cast("text", Atom("logger"))]
    session.cast("text", Opaque(Atom("erlang"), b"<0.1.0>"))
    assert session.take() == b"\0\0\0\x16\x83h\3w\1M<0.1.0>m\0\0\0\4text"
