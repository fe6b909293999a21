"""Written by `make generate` from contracts/subsystems/terminal/subsystem.json. Do not edit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Asked(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    status: Literal["asked"]


class TurnEndFrame(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    type: Literal["turn_end"]


class Nothing(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )


class State(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    session: Annotated[str | None, Field(pattern="^[!-~]{1,200}$")]
    streaming: bool
    waiting: Annotated[int, Field(ge=0)]


class Configure(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    session: Annotated[str | None, Field(pattern="^[!-~]{1,200}$")]


class Prompt(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    text: Annotated[str, Field(max_length=100000, min_length=1)]


class Sent(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    status: Literal["sent"]
    session: Annotated[str, Field(pattern="^[!-~]{1,200}$")]


class TextDeltaFrame(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    type: Literal["text_delta"]
    delta: Annotated[str, Field(max_length=100000, min_length=1)]


class ToolCallFrame(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    type: Literal["tool_call"]
    id: Annotated[str, Field(max_length=200, min_length=1)]
    toolName: Annotated[str, Field(max_length=200, min_length=1)]
    input: Any | None = None


class ToolResultFrame(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    type: Literal["tool_result"]
    id: Annotated[str, Field(max_length=200, min_length=1)]
    toolName: Annotated[str, Field(max_length=200, min_length=1)]
    content: Any | None = None
    isError: bool | None = None


class ErrorFrame(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    type: Literal["error"]
    message: Annotated[str, Field(max_length=10000, min_length=1)]


class TextDelta(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    delta: Annotated[str, Field(max_length=100000, min_length=1)]


class ToolCall(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    id: Annotated[str, Field(max_length=200, min_length=1)]
    toolName: Annotated[str, Field(max_length=200, min_length=1)]
    input: Any | None = None


class ToolResult(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    id: Annotated[str, Field(max_length=200, min_length=1)]
    toolName: Annotated[str, Field(max_length=200, min_length=1)]
    content: Any | None = None
    isError: bool | None = None


class Error(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    message: Annotated[str, Field(max_length=10000, min_length=1)]


class Status(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    sessionId: Annotated[str, Field(max_length=200)]
    isStreaming: bool
    queueDepth: Annotated[int, Field(ge=0)]


class Say(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )
    frame: TextDeltaFrame | ToolCallFrame | ToolResultFrame | TurnEndFrame | ErrorFrame
