"""Written by `make generate` from contracts/meta/scenarios.schema.json. Do not edit."""

from __future__ import annotations

# ruff: noqa: E501 (texts come from the schema as they are)
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class ExpectedOutcome(BaseModel):
    """
    Of a command: byte for byte, in canonical form. The state is given whole (`state`), as a change of the one before (`patch`), or left out where it stays.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    reply: Any
    effects: list[dict[str, Any]]
    state: Any | None = None
    patch: Annotated[
        dict[str, Any] | None,
        Field(description="A JSON merge patch (RFC 7396): members that are null are taken away."),
    ] = None


class ExpectedReply(BaseModel):
    """
    Of a query: it has no effects and changes no state.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    reply: Any


class ExpectedRefusal(BaseModel):
    """
    The handler refuses for this reason; the state stays. `message` and `detail` are compared where they are given.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    refused: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
    message: str | None = None
    detail: dict[str, Any] | None = None


class Step(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    operation: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
    request: dict[str, Any]
    now_ms: Annotated[int, Field(ge=0, le=253402300799999)]
    message_id: Annotated[str | None, Field(pattern="^[A-Za-z0-9._:/-]{1,100}$")] = None
    expect: Annotated[
        ExpectedOutcome | ExpectedReply | ExpectedRefusal | None,
        Field(description="Left out, `bridge contracts check --accept` writes what comes."),
    ] = None


class Scenario(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    name: Annotated[
        str,
        Field(
            description="A sentence; its slug begins the message ids (see contracts/README.md).",
            max_length=90,
            min_length=1,
        ),
    ]
    key: Annotated[str, Field(max_length=200, min_length=1)]
    given: Annotated[
        Any | None,
        Field(
            description="The state the first step meets; left out: the contract's `initial_state`."
        ),
    ] = None
    given_version: Annotated[
        int | None,
        Field(
            description="The version of the contract that wrote `given`: it is migrated first.",
            ge=1,
        ),
    ] = None
    migrated: Annotated[
        Any | None,
        Field(description="What `migrate` makes of `given`: the state the first step meets."),
    ] = None
    steps: Annotated[list[Step], Field(min_length=1)]


class ScenariosFile(BaseModel):
    """
    Sequences of messages with what every implementation must answer: scenarios.json.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    field_schema: Annotated[str | None, Field(alias="$schema")] = None
    scenarios: Annotated[list[Scenario], Field(min_length=1)]
