"""Written by `make generate` from contracts/meta/subsystem.schema.json. Do not edit."""

from __future__ import annotations

# ruff: noqa: E501 (texts come from the schema as they are)
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints
from typing_extensions import TypeAliasType


class Reason(RootModel[str]):
    model_config = ConfigDict(
        frozen=True,
    )
    root: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]


class OutcomePointer(RootModel[str]):
    model_config = ConfigDict(
        frozen=True,
    )
    root: Annotated[str, Field(pattern="^/(reply|effects|state|refused)(/([^~/]|~0|~1)+)*$")]


ToleranceAdditionalProperty = TypeAliasType(
    "ToleranceAdditionalProperty", Annotated[float, Field(ge=0.0)]
)


class Compare(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    volatile: Annotated[
        list[OutcomePointer],
        Field(description="Not compared, there or not.", validate_default=True),
    ] = []
    unordered: Annotated[
        list[OutcomePointer],
        Field(description="Arrays whose order says nothing.", validate_default=True),
    ] = []
    tolerance: Annotated[
        dict[OutcomePointer, ToleranceAdditionalProperty],
        Field(description="By how much two numbers may be apart.", validate_default=True),
    ] = {}
    sensitive: Annotated[
        list[OutcomePointer],
        Field(description="Compared, and shown to nobody.", validate_default=True),
    ] = []


class Retry(BaseModel):
    """
    How often a failed attempt is made again. The pause before attempt n is initial_ms * factor^(n-2), at most max_ms, less up to a half of it by chance.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 3
    initial_ms: Annotated[int, Field(ge=1, le=86400000)] = 1000
    max_ms: Annotated[int, Field(ge=1, le=86400000)] = 60000
    factor: Annotated[int, Field(ge=1, le=100)] = 2


class Operation(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    kind: Annotated[
        Literal["query", "command"],
        Field(description="A query reads; a command may change state or have effects."),
    ]
    internal: Annotated[bool, Field(description="true: only timers and `then` may ask it.")] = (
        False
    )
    summary: Annotated[str, Field(max_length=300, min_length=1)]
    request: dict[str, Any]
    reply: dict[str, Any]
    effects: Annotated[
        list[Literal["emit", "inngest", "system_event", "schedule", "cancel", "call"]],
        Field(description="The kinds of effect the handler may answer with."),
    ] = []
    errors: Annotated[
        list[Reason],
        Field(
            description="The reasons the handler may refuse with.",
            validate_default=True,
        ),
    ] = []
    idempotency: Annotated[
        str | None,
        Field(
            description="JSON pointer to the request's member that makes two messages the same one.",
            pattern="^(/[^/~]+)+$",
        ),
    ] = None
    content_type: Annotated[
        str | None,
        Field(
            description='Says that the operation takes binary frames; its request is {"base64": string}.',
            pattern="^[a-z0-9.+-]+/[a-z0-9.+-]+$",
        ),
    ] = None


class Call(RootModel[str]):
    model_config = ConfigDict(
        frozen=True,
    )
    root: Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,63}$")]


class Activity(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    runtime: Annotated[
        Literal["python", "typescript", "elixir", "http", "inngest"],
        Field(
            description="Where it runs: a function of ours in one of the three, or somebody else's service."
        ),
    ]
    summary: Annotated[str, Field(max_length=300, min_length=1)]
    request: dict[str, Any]
    reply: dict[str, Any]
    timeout_ms: Annotated[
        int, Field(description="The time one attempt has.", ge=1, le=86400000)
    ] = 60000
    heartbeat_ms: Annotated[
        int | None,
        Field(
            description="An attempt that was not heard of for so long is given up; left out: it need not say anything.",
            ge=1000,
            le=86400000,
        ),
    ] = None
    concurrency: Annotated[
        int,
        Field(
            description="How many of them run at most at once, in all workers and services together.",
            ge=1,
            le=10000,
        ),
    ] = 100
    retry: Retry | None = None


class SubsystemFile(BaseModel):
    """
    A subsystem's contract, subsystem.json. Its schemas are JSON Schema 2020-12, as far as subset.json allows.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    field_schema: Annotated[str | None, Field(alias="$schema")] = None
    name: Annotated[
        str,
        Field(
            description="The folder's name, and the part of a topic before the first colon.",
            pattern="^[a-z][a-z0-9_-]{0,63}$",
        ),
    ]
    version: Annotated[
        int,
        Field(
            description="Grows with every change after a release; a released version never changes.",
            ge=1,
            le=1000000,
        ),
    ]
    migrates_from: Annotated[
        int | None,
        Field(
            description="The oldest version whose states `migrate` makes this one's; left out: states of older versions are taken as they are, if they hold to `state`.",
            ge=1,
            le=1000000,
        ),
    ] = None
    summary: Annotated[str, Field(max_length=300, min_length=1)]
    owner: Annotated[
        Literal["python", "typescript", "elixir"],
        Field(description="The first owner, when no route exists yet."),
    ]
    fallback: Annotated[
        Literal["python", "typescript", "elixir"] | None,
        Field(
            description="The runtime that stands in while the owner cannot be reached; null: none."
        ),
    ]
    assign: Annotated[
        Literal["message", "key"],
        Field(description="What a move's share is counted over."),
    ] = "message"
    timeout_ms: Annotated[
        int,
        Field(
            description="The time a runtime has for one call of the handler.",
            ge=1,
            le=600000,
        ),
    ] = 5000
    max_state_bytes: Annotated[
        int,
        Field(
            description="The most canonical bytes a key's state may have.",
            ge=2,
            le=1048576,
        ),
    ] = 65536
    compare: Annotated[
        Compare | None,
        Field(
            description="How two runtimes' outcomes are compared in a move: docs/moves.md has the rules. JSON pointers into /reply, /effects, /state or /refused, in which * is any item or member."
        ),
    ] = None
    presence: Annotated[
        bool,
        Field(
            description='true: clients of a topic may say who they are, and see who is there. An internal command `presence`, where there is one, is told the ids of who is there: `{"present": [string]}`.'
        ),
    ] = False
    state: dict[str, Any]
    initial_state: Annotated[
        Any,
        Field(description="Handed to the handler for a key nothing was committed to."),
    ]
    operations: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Operation],
        Field(min_length=1),
    ]
    events: Annotated[
        dict[
            Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=128)],
            dict[str, Any],
        ],
        Field(description="The events `emit` may name, each with the schema of its payload."),
    ] = {}
    activities: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Activity],
        Field(
            description="Functions with the outside world in them, which `call` may name.",
            validate_default=True,
        ),
    ] = {}
    calls: Annotated[
        list[Call],
        Field(description="The subsystems that `call` may name.", validate_default=True),
    ] = []
    field_defs: Annotated[
        dict[
            Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{0,63}$")], dict[str, Any]
        ],
        Field(alias="$defs"),
    ] = {}
