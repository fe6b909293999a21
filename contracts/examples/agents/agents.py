"""Loops of programming agents over the stories of a project; the key is the project. No I/O here.

A loop plans its stories and takes each through the steps of `STEPS`. Every step is an activity;
what comes of it is the command `stepped`, which looks up there what is next.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from bridge.errors import Refusal
from bridge.message import JSON, Context

Answer = tuple[JSON, list[dict[str, JSON]], JSON]
Loop = dict[str, Any]

MAX_LOOPS = 100
MAX_TEXT = 2000
NO_WORK = {"tests": "", "commit": "", "review": "", "feedback": ""}


# Who may be in a step (`project`: one loop of the project at a time), how long it may take and
# its claim lasts, what its activity is told and makes, and what is next: `done`; `no`, a reply
# that it did not pass; `error`, no reply. That is a step, or what happens: pass, retry or fail
# the story, give_up the loop.
STEPS = """
step       one_per  minutes  told                       makes     done       no     error
plan       loop     60       goal                       stories   tests      -      give_up
tests      project  60       goal,story                 tests     implement  -      fail
implement  loop     120      story,tests,tool,feedback  commit    review     -      retry
review     project  60       story,commit               review    judge      -      retry
judge      project  60       story,tests,commit,review  feedback  pass       retry  retry
"""


class Step(NamedTuple):
    """A row of `STEPS`."""

    step: str
    one_per: str
    minutes: str
    told: str
    makes: str
    done: str
    no: str
    error: str

    @property
    def lasts_ms(self) -> int:
        return int(self.minutes) * 60_000


TABLE = {row.step: row for row in (Step(*line.split()) for line in STEPS.split("\n")[2:-1])}


def handle(state: JSON, operation: str, request: JSON, context: Context) -> Answer:
    """Compute one message's reply, effects and next state; `state` is not touched."""
    project = Project(copy.deepcopy(state), context.now_ms)
    reply = OPERATIONS[operation](project, request)
    return reply, project.effects, project.state


class Project:
    """The loops of a project, and the effects of this message so far."""

    def __init__(self, state: JSON, now_ms: int) -> None:
        self.state = state
        self.effects: list[dict[str, JSON]] = []
        self.loops: dict[str, Loop] = state["loops"]
        self._claims: dict[str, JSON] = state["claims"]
        self._waiting: dict[str, list[str]] = state["waiting"]
        self._now_ms = now_ms

    # -- operations --------------------------------------------------------------------------
    def start(self, request: JSON) -> JSON:
        name, goal = request["loop"], request["goal"]
        if name in self.loops:
            raise Refusal("loop_exists", f"{name} is a loop already")
        self._make_room()
        self.loops[name] = {
            "goal": goal,
            "tools": request["tools"],
            "status": "running",
            "step": "",
            "waiting": False,
            "story": 0,
            "stories": [],
            "retries": 0,
            "work": NO_WORK,
            "started_ms": self._now_ms,
            "ended_ms": 0,
        }
        self._emit("loop.started", loop=name, goal=goal)
        self._enter(name, "plan")
        return {"loop": name}

    def cancel(self, request: JSON) -> JSON:
        name = request["loop"]
        if self.known(name)["status"] != "running":
            return {"cancelled": False}
        self.effects.append({"effect": "cancel", "id": name})
        self._leave(name)
        self._end(name, "cancelled", "")
        return {"cancelled": True}

    def stepped(self, request: JSON) -> JSON:
        """Take what came of a step, and do what the table has for it."""
        name, reply = request["id"], request.get("reply")
        loop = self.loops.get(name)
        if loop is None or loop["status"] != "running":
            return {"step": ""}
        at = loop["step"]
        step = TABLE[at]
        if reply is None:
            outcome, what, why = "error", step.error, request["error"]["message"]
        elif reply.get("passed") is False:
            outcome, what, why = "no", step.no, reply["feedback"]
        else:
            outcome, what, why = "done", step.done, ""
        why = why[:MAX_TEXT]
        if at == "plan" and reply is not None:
            loop["stories"] = [{**story, "status": "open"} for story in reply["stories"]]
        elif reply is not None:
            loop["work"] = {**loop["work"], step.makes: reply[step.makes]}
        self._emit("step.ended", loop=name, step=at, outcome=outcome, why=why)
        self._leave(name)
        VERBS.get(what, Project._go)(self, name, what, why)
        return {"step": loop["step"]}

    def status(self, request: JSON) -> JSON:
        return self.known(request["loop"])

    def list(self, request: JSON) -> JSON:
        return {"loops": [_row(name, loop) for name, loop in sorted(self.loops.items())]}

    def known(self, name: str) -> Loop:
        if name not in self.loops:
            raise Refusal("unknown_loop", f"there is no loop {name}")
        return self.loops[name]

    # -- what the table names ----------------------------------------------------------------
    def _go(self, name: str, step: str, why: str) -> None:
        loop = self.loops[name]
        if loop["story"] < len(loop["stories"]):
            self._enter(name, step)
        else:
            self._complete(name)

    def _pass(self, name: str, what: str, why: str) -> None:
        self._story_ended(name, "passed")

    def _retry(self, name: str, what: str, why: str) -> None:
        """Implement it again, with the next tool of the ladder, if there is one."""
        loop = self.loops[name]
        loop["retries"] += 1
        if loop["retries"] == len(loop["tools"]):
            self._story_ended(name, "failed")
            return
        story, tool = self._told(loop, "story"), self._told(loop, "tool")
        self._emit("story.retried", loop=name, story=story["id"], tool=tool)
        self._enter(name, "implement")

    def _fail(self, name: str, what: str, why: str) -> None:
        self._story_ended(name, "failed")

    def _give_up(self, name: str, what: str, why: str) -> None:
        self._end(name, "failed", why)

    # -- steps -------------------------------------------------------------------------------
    def _enter(self, name: str, step: str) -> None:
        """Begin a step, or wait until no other loop of the project is in it."""
        loop = self.loops[name]
        loop["step"] = step
        claim = self._claims.get(step)
        loop["waiting"] = claim is not None and claim["until_ms"] > self._now_ms
        if loop["waiting"]:
            self._waiting[step].append(name)
        else:
            self._begin(name, step)

    def _begin(self, name: str, step: str) -> None:
        loop, lasts_ms = self.loops[name], TABLE[step].lasts_ms
        loop["waiting"] = False
        if TABLE[step].one_per == "project":
            self._claims[step] = {"loop": name, "until_ms": self._now_ms + lasts_ms}
        story = self._told(loop, "story")["id"] if step != "plan" else ""
        self._emit("step.started", loop=name, step=step, story=story)
        told = {member: self._told(loop, member) for member in TABLE[step].told.split(",")}
        self.effects.append(
            {
                "effect": "call",
                "id": name,
                "to": step,
                "request": {"loop": name, **told},
                "then": "stepped",
                "timeout_ms": lasts_ms,
            }
        )

    def _leave(self, name: str) -> None:
        """Give the loop's claim to the one that has waited longest, or its place in line up."""
        step = self.loops[name]["step"]
        if name in self._waiting.get(step, ()):
            self._waiting[step].remove(name)
        elif self._claims.get(step, {}).get("loop") == name:
            del self._claims[step]
            if self._waiting[step]:
                self._begin(self._waiting[step].pop(0), step)

    def _told(self, loop: Loop, member: str) -> JSON:
        match member:
            case "goal":
                return loop["goal"]
            case "story":
                story = loop["stories"][loop["story"]]
                return {"id": story["id"], "title": story["title"]}
            case "tool":
                return loop["tools"][loop["retries"]]
        return loop["work"][member]

    # -- ends --------------------------------------------------------------------------------
    def _story_ended(self, name: str, status: str) -> None:
        loop = self.loops[name]
        story = loop["stories"][loop["story"]]
        story["status"] = status
        ended = {"loop": name, "story": story["id"], "retries": loop["retries"]}
        self._emit(f"story.{status}", **ended)
        loop.update(story=loop["story"] + 1, retries=0, work=NO_WORK)
        self._go(name, "tests", "")

    def _complete(self, name: str) -> None:
        failed = _row(name, self.loops[name])["failed"]
        self._end(name, "failed" if failed else "completed", "")

    def _end(self, name: str, status: str, why: str) -> None:
        loop = self.loops[name]
        loop.update(status=status, step="", waiting=False, work=NO_WORK, ended_ms=self._now_ms)
        row = _row(name, loop)
        told = {"loop": name, "passed": row["passed"], "failed": row["failed"], "why": why}
        self._emit(f"loop.{status}", **told)

    def _make_room(self) -> None:
        if len(self.loops) < MAX_LOOPS:
            return
        ended = [(loop["ended_ms"], name) for name, loop in self.loops.items()]
        ended = sorted((at_ms, name) for at_ms, name in ended if at_ms > 0)
        if not ended:
            raise Refusal("too_many", f"{MAX_LOOPS} loops of this project run")
        del self.loops[ended[0][1]]

    def _emit(self, type: str, **payload: JSON) -> None:
        self.effects.append({"effect": "emit", "type": type, "payload": payload})


def _row(name: str, loop: Loop) -> dict[str, Any]:
    statuses = [story["status"] for story in loop["stories"]]
    counts = {status: statuses.count(status) for status in ("passed", "failed", "open")}
    return {"loop": name, "status": loop["status"], "step": loop["step"], **counts}


VERBS: dict[str, Callable[[Project, str, str, str], None]] = {
    "pass": Project._pass,
    "retry": Project._retry,
    "fail": Project._fail,
    "give_up": Project._give_up,
}
OPERATIONS: dict[str, Callable[[Project, JSON], JSON]] = {
    "start": Project.start,
    "cancel": Project.cancel,
    "stepped": Project.stepped,
    "status": Project.status,
    "list": Project.list,
}
