defmodule Bridge.Link.Liveness do
  @moduledoc """
  Whether the peer still answers pings, asked at every tick. Pure.

  A tick that comes late says that this side was stopped, not the peer: it starts anew.
  """

  @enforce_keys [:tick_ms, :silence_ms, :ticked_ms]
  defstruct [:tick_ms, :silence_ms, :ticked_ms, silent_ms: 0, waiting?: false]

  @type t :: %__MODULE__{
          tick_ms: pos_integer,
          silence_ms: pos_integer,
          ticked_ms: integer,
          silent_ms: non_neg_integer,
          waiting?: boolean
        }

  @doc "Start at `now_ms`, with a tick due every `tick_ms`; silence may last `silence_ms`."
  @spec new(tick_ms :: pos_integer, silence_ms :: pos_integer, now_ms :: integer) :: t
  def new(tick_ms, silence_ms, now_ms) do
    %__MODULE__{tick_ms: tick_ms, silence_ms: silence_ms, ticked_ms: now_ms}
  end

  @doc "Take a tick: send a ping now, wait on for the last one's pong, or give the peer up."
  @spec tick(t, now_ms :: integer) :: {:ping | :wait | :silent, t}
  def tick(%__MODULE__{} = liveness, now_ms) do
    passed_ms = now_ms - liveness.ticked_ms

    silent_ms =
      if liveness.waiting? and passed_ms <= 2 * liveness.tick_ms,
        do: liveness.silent_ms + passed_ms,
        else: 0

    liveness = %{liveness | ticked_ms: now_ms, silent_ms: silent_ms}

    cond do
      silent_ms > liveness.silence_ms -> {:silent, liveness}
      liveness.waiting? -> {:wait, liveness}
      true -> {:ping, %{liveness | waiting?: true}}
    end
  end

  @doc "Take a pong."
  @spec pong(t) :: t
  def pong(%__MODULE__{} = liveness), do: %{liveness | waiting?: false, silent_ms: 0}
end
