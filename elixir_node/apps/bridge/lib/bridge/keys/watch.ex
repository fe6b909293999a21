defmodule Bridge.Keys.Watch do
  @moduledoc """
  One look at all runs, so that a run that waits costs nothing: only when the VM holds many binaries
  are their keys told to look at theirs.

  It also ends runs whose key is too busy to do so: no message it is sent delays that.
  """

  use GenServer

  @grace_ms 100
  # A key does not get to its own in time: what waits there is not calls.
  @flood 10_000

  @doc "Watch the runs of table `name`; `limits` are those of `Bridge.Keys.Server`."
  @spec start_link({atom, map}) :: GenServer.on_start()
  def start_link({name, limits}), do: GenServer.start_link(__MODULE__, {name, limits})

  @doc "Watch a run of the calling key."
  @spec begin(atom, integer, pid) :: true
  def begin(table, until_ms, run), do: :ets.insert(table, {{until_ms, run}, self()})

  @doc "Watch it no more."
  @spec ended(atom, integer, pid) :: true
  def ended(table, until_ms, run), do: :ets.delete(table, {until_ms, run})

  @impl true
  def init({name, limits}) do
    # Before anything else that could run here.
    Process.flag(:priority, :high)
    ^name = :ets.new(name, [:named_table, :public, :ordered_set, write_concurrency: true])
    {:ok, look_again({name, limits})}
  end

  @impl true
  def handle_info(:look, {table, limits} = state) do
    if :erlang.memory(:binary) > limits.max_memory_bytes,
      do: for({_, key} <- :ets.tab2list(table), do: send(key, :look))

    end_overdue(table, System.monotonic_time(:millisecond) - @grace_ms, :ets.first(table))
    {:noreply, look_again(state)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp end_overdue(table, before_ms, {until_ms, run} = due) when until_ms < before_ms do
    for {_, key} <- :ets.lookup(table, due) do
      Process.exit(run, :kill)
      flooded? = match?({_, n} when n > @flood, Process.info(key, :message_queue_len))
      if flooded?, do: Process.exit(key, :kill)
    end

    :ets.delete(table, due)
    end_overdue(table, before_ms, :ets.first(table))
  end

  defp end_overdue(_table, _before_ms, _none), do: :ok

  defp look_again({_, limits} = state) do
    Process.send_after(self(), :look, limits.sample_ms)
    state
  end
end
