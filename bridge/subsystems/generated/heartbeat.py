"""Written by `make generate` from contracts/subsystems/heartbeat/subsystem.json. Do not edit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel


class Nothing(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )


class Ran(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    status: Literal["ran"]
    events: Literal[10]


class State(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    every_ms: Annotated[int, Field(ge=0, le=31536000000)]
    min_gap_ms: Annotated[int, Field(ge=0, le=31536000000)]
    profile: Literal["early", "head"]
    last_ms: Annotated[int | None, Field(ge=0)]
    runs: Annotated[int, Field(ge=0)]
    skipped: Annotated[int, Field(ge=0)]


class Configure(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    every_ms: Annotated[int, Field(ge=0, le=31536000000)] = 900000
    min_gap_ms: Annotated[int, Field(ge=0, le=31536000000)] = 600000
    profile: Literal["early", "head"] = "early"


class Configured(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    every_ms: Annotated[int, Field(ge=0, le=31536000000)]
    min_gap_ms: Annotated[int, Field(ge=0, le=31536000000)]
    profile: Literal["early", "head"]


class Skipped(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    status: Literal["skipped"]
    reason: Literal["too_soon"]
    next_ms: Annotated[int, Field(ge=0)]


class Status(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    last_ms: Annotated[int | None, Field(ge=0)]
    next_ms: Annotated[int | None, Field(ge=0)]
    runs: Annotated[int, Field(ge=0)]
    skipped: Annotated[int, Field(ge=0)]


class Ticked(RootModel[Ran | Skipped]):
    model_config = ConfigDict(
        frozen=True,
    )
    root: Ran | Skipped
