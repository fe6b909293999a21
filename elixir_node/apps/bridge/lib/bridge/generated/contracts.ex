# Written by `make generate` from contracts/subsystems. Do not edit.
defmodule Bridge.Generated.Contracts do
  @moduledoc """
  What the node must know of the built-in contracts; the gateway holds messages to them.
  """

  @type t :: %{
          version: pos_integer,
          digest: String.t(),
          owner: String.t(),
          fallback: String.t() | nil,
          timeout_ms: pos_integer
        }

  @contracts %{
    "heartbeat" => %{
      version: 1,
      digest: "5ae46ef229d6b5efc918c413e6e5e165a4a753398f4a7bd3c7c61263c52e908e",
      owner: "python",
      fallback: "python",
      timeout_ms: 5000
    }
  }

  @doc "Return the built-in contracts by subsystem."
  @spec all() :: %{String.t() => t}
  def all, do: @contracts
end
