defmodule Bridge.Workers do
  @moduledoc """
  Keeps the node's gateway workers running: each a port, restarted with a growing delay, or the
  orphan of a node that is gone, adopted with its clients.

  When it is shut down it leaves them behind if somebody else supervises them too (`leaves_them?`):
  the next node adopts them. Else, or after `take_along/1`, it asks them to leave and waits, so
  whatever they need of the node must be stopped after it.
  """

  use GenServer

  alias Bridge.Link.Connection
  alias Bridge.Telemetry

  @first_ms 100
  @most_ms 5_000
  @steady_ms 10_000
  @grace_ms 2_000
  # Until workers are started beside orphans that have not answered.
  @adopt_ms 2_000

  @type option ::
          {:name, atom}
          | {:count, non_neg_integer}
          | {:links, atom}
          | {:connection, [Connection.option()]}
          | {:drain_ms, non_neg_integer}
          | {:adopts?, boolean}
          | {:leaves_them?, boolean}

  @doc "Start `count` workers; `connection` are the options of each one's link."
  @spec start_link([option]) :: GenServer.on_start()
  def start_link(options) do
    GenServer.start_link(__MODULE__, Map.new(options), name: Keyword.get(options, :name))
  end

  @doc false
  def child_spec(options) do
    # terminate/2 ends by itself; the rest is for the links to close.
    shutdown_ms = Keyword.fetch!(options, :drain_ms) + 2 * @grace_ms
    %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}, shutdown: shutdown_ms}
  end

  @doc "Say whether there are workers and all of them have said hello."
  @spec ready?(GenServer.server()) :: boolean
  def ready?(workers), do: GenServer.call(workers, :ready?)

  @doc "Return the link processes of the workers that have said hello."
  @spec links(GenServer.server()) :: [pid]
  def links(workers), do: GenServer.call(workers, :links)

  @doc "Start what is missing: with `adopts?` nothing is before this, or for two seconds."
  @spec begin(GenServer.server()) :: :ok
  def begin(workers), do: GenServer.cast(workers, :begin)

  @doc "Take an orphan for a worker; `:full` if there are enough. Asked again it says the same."
  @spec adopt(GenServer.server(), pid, String.t()) :: :adopted | :full
  def adopt(workers, link, name), do: GenServer.call(workers, {:adopt, link, name})

  @doc "Have the workers leave when this process is shut down, whoever else supervises them."
  @spec take_along(GenServer.server()) :: :ok
  def take_along(workers), do: GenServer.call(workers, :take_along)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    options = Map.merge(%{adopts?: false, leaves_them?: false}, options)
    Process.send_after(self(), :begin, if(options.adopts?, do: @adopt_ms, else: 0))
    {:ok, Map.merge(options, %{running: %{}, delays: %{}, begun?: false})}
  end

  @impl true
  def handle_call(:ready?, _from, state), do: {:reply, ready(state), state}
  def handle_call(:links, _from, state), do: {:reply, up(state), state}

  def handle_call(:take_along, _from, state) do
    {:reply, :ok, %{state | leaves_them?: false}}
  end

  def handle_call({:adopt, link, name}, _from, state) do
    case {Enum.any?(state.running, fn {_, run} -> run.link == link end), free(state)} do
      {true, _} ->
        {:reply, :adopted, state}

      {false, []} ->
        {:reply, :full, state}

      {false, [slot | _]} ->
        Telemetry.emit(:orphan_adopted, %{peer: name, slot: slot})
        {:reply, :adopted, run(state, slot, link, true)}
    end
  end

  @impl true
  def handle_cast(:begin, state), do: {:noreply, start_missing(state)}

  @impl true
  def handle_info(:begin, state), do: {:noreply, start_missing(state)}

  # Meanwhile an orphan may have been adopted.
  def handle_info({:start, slot}, state) do
    {:noreply, if(slot in free(state), do: start(state, slot), else: state)}
  end

  def handle_info({:link_up, link, _hello}, state) do
    running =
      Map.new(state.running, fn
        {monitor, %{link: ^link} = run} -> {monitor, %{run | up?: true}}
        other -> other
      end)

    {:noreply, %{state | running: running}}
  end

  def handle_info({:DOWN, monitor, :process, _, reason}, state) do
    {run, running} = Map.pop!(state.running, monitor)
    delay_ms = delay(state.delays[run.slot], now_ms() - run.started_ms)
    data = %{peer: "worker #{run.slot}", reason: reason, delay_ms: delay_ms}
    Telemetry.emit(:worker_restarts, data)
    Process.send_after(self(), {:start, run.slot}, delay_ms)
    {:noreply, %{state | running: running, delays: Map.put(state.delays, run.slot, delay_ms)}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp start_missing(%{begun?: true} = state), do: state

  defp start_missing(state) do
    Enum.reduce(free(state), %{state | begun?: true}, &start(&2, &1))
  end

  defp start(state, slot) do
    options = Keyword.merge(state.connection, name: "worker #{slot}", owner: self())
    {:ok, link} = DynamicSupervisor.start_child(state.links, {Connection, options})
    run(state, slot, link, false)
  end

  defp run(state, slot, link, up?) do
    monitor = Process.monitor(link)
    run = %{slot: slot, link: link, up?: up?, started_ms: now_ms()}
    put_in(state.running[monitor], run)
  end

  defp free(state) do
    taken = for {_, run} <- state.running, do: run.slot
    Enum.take(Stream.iterate(1, &(&1 + 1)), state.count) -- taken
  end

  @impl true
  def terminate(_reason, %{leaves_them?: true}), do: :ok

  def terminate(_reason, state) do
    for {_, run} <- state.running, do: Connection.request(run.link, :shutdown)
    left = await(state.running, now_ms() + state.drain_ms + @grace_ms)
    for {_, run} <- left, do: Connection.kill(run.link, "did not leave in time")
    await(left, now_ms() + @grace_ms)
  end

  defp await(running, _until_ms) when running == %{}, do: running

  defp await(running, until_ms) do
    receive do
      {:DOWN, monitor, :process, _, _} ->
        await(Map.delete(running, monitor), until_ms)

      # It was asked before it knew whom by, and refused.
      {:link_up, link, _hello} ->
        Connection.request(link, :shutdown)
        await(running, until_ms)
    after
      max(until_ms - now_ms(), 0) -> running
    end
  end

  # A worker that ran for a while starts again at once.
  defp delay(nil, _ran_ms), do: @first_ms
  defp delay(_last_ms, ran_ms) when ran_ms >= @steady_ms, do: @first_ms
  defp delay(last_ms, _ran_ms), do: min(last_ms * 2, @most_ms)

  defp ready(%{running: running, count: count}) do
    count > 0 and map_size(running) == count and Enum.all?(running, fn {_, run} -> run.up? end)
  end

  defp up(state), do: for({_, %{up?: true, link: link}} <- state.running, do: link)

  defp now_ms, do: System.monotonic_time(:millisecond)
end
