defmodule Bridge.Keys.Kin do
  @moduledoc """
  What a run has started: its processes, and theirs.

  The run is traced by its key from its first step (`trace/1`), and so is whatever it starts. All of
  it ends with the run, tables and ports with the process that has them. Out of reach: what is
  asked of others to be started, programs that outlive their port, and whoever ends the trace.
  """

  @enforce_keys [:processes]
  defstruct [:processes]

  @type t :: %__MODULE__{
          processes: %{optional(pid) => true}
        }

  @spec new() :: t
  def new, do: %__MODULE__{processes: %{}}

  @doc "Have `key` told, as `{:trace, ...}`, of what the calling process starts."
  @spec trace(key :: pid) :: :ok
  def trace(key) do
    _ = :erlang.trace(self(), true, [:procs, :set_on_spawn, {:tracer, key}])
    :ok
  end

  @doc "Take in what a trace tells. What is started is linked to the caller, which traps exits."
  @spec told(t, tuple) :: t
  def told(kin, {:trace, _, :spawn, pid, _mfa}) do
    # It would outlive a key that is killed.
    Process.link(pid)
    %{kin | processes: Map.put(kin.processes, pid, true)}
  end

  def told(kin, {:trace, pid, :exit, _}),
    do: %{kin | processes: Map.delete(kin.processes, pid)}

  def told(kin, _other), do: kin

  @doc "End all of it."
  @spec finish(t) :: :ok
  def finish(kin) do
    for {pid, _} <- kin.processes, do: Process.exit(pid, :kill)
    :ok
  end

  @doc "Return the bytes that `pid` and its kin hold, binaries that several hold once."
  @spec bytes(t, pid) :: non_neg_integer
  def bytes(kin, pid) do
    told =
      for one <- [pid | Map.keys(kin.processes)],
          info = Process.info(one, [:memory, :binary]),
          do: info

    binaries = Enum.uniq_by(Enum.flat_map(told, & &1[:binary]), &elem(&1, 0))
    Enum.reduce(told, 0, &(&1[:memory] + &2)) + Enum.reduce(binaries, 0, &(elem(&1, 1) + &2))
  end
end
