"""A worker that does as it is told: it answers the node, and a test drives it over TCP.

Started by the node as the real one is (descriptors 3 and 4), or with `--socket PATH` to listen
there. The test listens on port `PEER_CONTROL` of the loopback; commands and their answers are
frames of terms, as on the link:

    {call, Function, Args}          -> {answer, Result}
    {flood, Count, Window, Calls}   -> {flooded, Microseconds, Ok}
    {write, Bytes}                  -> ok       as they are, onto the link
    {write_and_read, Bytes}         -> Term     the next term the node sends
    {hush, Boolean}                 -> ok       stop answering the node's pings
    {heard}                         -> [Function]  what the node asked so far
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from bridge import terms
from bridge.terms import Atom

RESULT = b"\x83h\x03d\0\x01r"
OK = terms.dumps("ok")[1:]


class Stream:
    """Frames of terms over two descriptors."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self.writing = writing
        self.buffer = b""

    def send(self, *items: Any) -> None:
        bodies = [terms.dumps(item) for item in items]
        self.write(b"".join(struct.pack(">I", len(body)) + body for body in bodies))

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.writing, data) :]

    def take(self) -> list[Any]:
        """Read once and return the terms that are complete; leave at the end of the stream."""
        return [terms.loads(frame) for frame in self.take_frames()]

    def take_frames(self) -> list[bytes]:
        data = os.read(self.reading, 1 << 20)
        if not data:
            raise EOFError
        self.buffer += data
        taken, at = [], 0
        while len(self.buffer) - at >= 4:
            end = at + 4 + int.from_bytes(self.buffer[at : at + 4])
            if end > len(self.buffer):
                break
            taken.append(self.buffer[at + 4 : end])
            at = end
        self.buffer = self.buffer[at:]
        return taken


class Peer:
    def __init__(self, link: Stream, control: Stream, *, orphan: bool) -> None:
        self.link = link
        self.control = control
        self.orphan = orphan
        self.hushed = False
        self.leaving = False
        self.heard: list[str] = []
        self.next_id = 0
        self.commands: dict[str, Callable[..., Any]] = {
            "call": self.call,
            "flood": self.flood,
            "write": self.write,
            "write_and_read": self.write_and_read,
            "hush": self.hush,
            "heard": lambda: list(self.heard),
        }

    def serve(self) -> None:
        while not self.leaving:
            ready, _, _ = select.select([self.link.reading, self.control.reading], [], [])
            if self.link.reading in ready:
                for term in self.link.take():
                    self.receive(term)
            if self.control.reading in ready:
                for name, *args in self.control.take():
                    self.control.send(self.commands[name](*args))

    def receive(self, term: Any) -> Any:
        """Answer the node's call, or return the term if it is none."""
        if term[0] != "C":
            return term
        _, call_id, _, function, args = term
        if function != "ping":
            self.heard.append(str(function))
        if function == "ping" and self.hushed:
            return None
        answer: Any = Atom("ok")
        if function == "hello":
            answer = self.hello(args[0])
        elif function == "ping":
            answer = Atom("pong")
        self.leaving = function in ("shutdown", "drain") and "PEER_STAYS" not in os.environ
        self.link.send((Atom("r"), call_id, answer))
        if function == "hello":
            self.control.send((Atom("hello"), os.getpid(), args[0]))
        return None

    def hello(self, node: dict[str, Any]) -> dict[str, Any]:
        return {
            "protocol": int(os.environ.get("PEER_PROTOCOL", "1")),
            "worker": f"peer-{os.getpid()}",
            "pid": os.getpid(),
            "orphan": self.orphan,
            "digests": node["digests"],
            "accepted": sorted(node["digests"]),
            "refused": {},
        }

    def call(self, function: Atom, args: list[Any]) -> Any:
        self.link.send(self.message(function, args))
        return (Atom("answer"), self.next_answer())

    def flood(self, count: int, window: int, calls: list[dict[str, Any]]) -> Any:
        """Call `handle` `count` times, `window` of them at once; only `r` frames are not read."""
        bodies = [terms.dumps(self.message(Atom("handle"), [call])) for call in calls]
        frames = [struct.pack(">I", len(body)) + body for body in bodies]
        sent = answered = good = 0
        begin = time.perf_counter()
        while answered < count:
            more = min(window - (sent - answered), count - sent)
            if more >= min(window // 2, count - sent) and more > 0:
                self.link.write(
                    b"".join(frames[n % len(frames)] for n in range(sent, sent + more))
                )
                sent += more
            for frame in self.link.take_frames():
                if frame[:7] == RESULT:
                    answered += 1
                    good += OK in frame
                else:
                    self.receive(terms.loads(frame))
        return (Atom("flooded"), int((time.perf_counter() - begin) * 1e6), good)

    def write(self, data: Any) -> Any:
        self.link.write(data if isinstance(data, bytes) else str(data).encode())
        return Atom("ok")

    def write_and_read(self, data: Any) -> Any:
        self.write(data)
        return self.next_answer()

    def hush(self, hushed: bool) -> Any:
        self.hushed = hushed
        return Atom("ok")

    def message(self, function: Atom, args: list[Any]) -> tuple[Any, ...]:
        self.next_id += 1
        return (Atom("C"), self.next_id, Atom("bridge"), function, args, Atom("N"))

    def next_answer(self) -> Any:
        while True:
            for term in self.link.take():
                answer = self.receive(term)
                if answer is not None:
                    return answer


def main() -> NoReturn:
    control = socket.create_connection(("127.0.0.1", int(os.environ["PEER_CONTROL"])))
    commands = Stream(control.fileno(), control.fileno())
    if "--socket" in sys.argv:
        server = socket.socket(socket.AF_UNIX)
        path = sys.argv[sys.argv.index("--socket") + 1]
        server.bind(path + ".new")
        server.listen()
        os.rename(path + ".new", path)
        client, _ = server.accept()
        link = Stream(client.fileno(), client.fileno())
    else:
        link = Stream(3, 4)
    try:
        Peer(link, commands, orphan="--orphan" in sys.argv).serve()
    except (EOFError, ConnectionError):
        sys.exit(3)
    sys.exit(0)


if __name__ == "__main__":
    main()
