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
    },
    "sessions" => %{
      version: 1,
      digest: "e016f79816b0d650ca638e37b5e0aa4a6590dbd61fde4bc672017d479ed9492c",
      owner: "python",
      fallback: "python",
      timeout_ms: 5000
    },
    "terminal" => %{
      version: 1,
      digest: "10f9577deeec7922344bc3a680f1a26f44c41d3864f0152312b37c3e0a610124",
      owner: "python",
      fallback: "python",
      timeout_ms: 5000
    },
    "triage" => %{
      version: 1,
      digest: "61888d624b338219e2159899a5e8bb0755e1bc92deed2ba59d92a69e5d27d819",
      owner: "python",
      fallback: "python",
      timeout_ms: 5000
    }
  }

  @doc "Return the built-in contracts by subsystem."
  @spec all() :: %{String.t() => t}
  def all, do: @contracts
end
