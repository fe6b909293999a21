defmodule BridgeWeb.Settings do
  @moduledoc """
  What the web part is told by its environment, parsed once. Pure.

  | variable | meaning |
  |---|---|
  | `BRIDGE_HOST` | address it listens on, default 127.0.0.1 |
  | `BRIDGE_PHOENIX_PORT` | port it listens on, default 4101; 0: it does not serve |
  | `BRIDGE_LISTEN_FD` | descriptor of the gateway's listening socket, default 0: none |
  | `BRIDGE_TIMEOUT_MS` | time from a push to its answer, default 10000 |
  | `BRIDGE_MAX_FRAME_BYTES` | largest WebSocket frame of a client, default 1048576 |
  | `BRIDGE_MAX_QUEUE_FRAMES` | frames that may wait for a slow client, default 1000 |
  | `BRIDGE_DRAIN_MS` | longest time to wait for pushes in flight when stopping, default 5000 |
  | `BRIDGE_IDLE_TIMEOUT_MS` | close a socket that sends nothing for so long, default 60000 |
  """

  import Bridge.Settings, only: [number: 4, text: 3]

  defstruct host: "127.0.0.1",
            port: 4101,
            listen_fd: 0,
            timeout_ms: 10_000,
            max_frame_bytes: 1_048_576,
            max_queue_frames: 1_000,
            idle_timeout_ms: 60_000,
            drain_ms: 5_000

  @type t :: %__MODULE__{
          host: String.t(),
          port: non_neg_integer,
          listen_fd: non_neg_integer,
          timeout_ms: pos_integer,
          max_frame_bytes: pos_integer,
          max_queue_frames: pos_integer,
          idle_timeout_ms: pos_integer,
          drain_ms: non_neg_integer
        }

  @doc "Read the settings; the error says which variable, what was expected and what came."
  @spec parse(%{String.t() => String.t()}) :: {:ok, t} | {:error, String.t()}
  def parse(environment) do
    defaults = %__MODULE__{}

    settings = %__MODULE__{
      host: text(environment, "BRIDGE_HOST", defaults.host),
      port: number(environment, "BRIDGE_PHOENIX_PORT", defaults.port, 0),
      listen_fd: number(environment, "BRIDGE_LISTEN_FD", defaults.listen_fd, 0),
      timeout_ms: number(environment, "BRIDGE_TIMEOUT_MS", defaults.timeout_ms, 1),
      max_frame_bytes:
        number(environment, "BRIDGE_MAX_FRAME_BYTES", defaults.max_frame_bytes, 1_024),
      max_queue_frames:
        number(environment, "BRIDGE_MAX_QUEUE_FRAMES", defaults.max_queue_frames, 1),
      idle_timeout_ms:
        number(environment, "BRIDGE_IDLE_TIMEOUT_MS", defaults.idle_timeout_ms, 1_000),
      drain_ms: number(environment, "BRIDGE_DRAIN_MS", defaults.drain_ms, 0)
    }

    {:ok, settings}
  catch
    {:bad_setting, text} -> {:error, text}
  end
end
