defmodule Bridge.Keys.Server do
  @moduledoc """
  One key of one subsystem: its calls one after the other, each in a process of its own.

  State comes with every call and leaves with its answer, so this process has nothing to lose.
  It ends when idle. A call that has waited longer than its own time is not run any more.
  """

  use GenServer, restart: :temporary

  alias Bridge.Keys
  alias Bridge.Keys.Run

  @type limits :: %{
          idle_ms: pos_integer,
          max_queue: pos_integer,
          max_memory_bytes: pos_integer,
          sample_ms: pos_integer
        }

  @doc "Return the limits of a key: idle time, waiting calls, memory of a run and its sampling."
  @spec default_limits() :: limits
  def default_limits do
    %{idle_ms: 60_000, max_queue: 1_024, max_memory_bytes: 134_217_728, sample_ms: 20}
  end

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    {name, options} = Keyword.pop!(options, :name)
    GenServer.start_link(__MODULE__, Map.new(options), name: name)
  end

  @impl true
  def init(options) do
    # A run is linked, so that none outlives its key.
    Process.flag(:trap_exit, true)
    state = Map.merge(options, %{queue: :queue.new(), waiting: 0, run: nil})
    {:ok, state, options.limits.idle_ms}
  end

  @impl true
  def handle_info({:handle, from, call}, %{run: nil} = state), do: next(start(from, call, state))

  def handle_info({:handle, from, _call}, %{limits: %{max_queue: limit}} = state)
      when state.waiting >= limit do
    text = "#{state.waiting} calls wait for #{state.subsystem}:#{state.key}, limit is #{limit}"
    reply(from, Run.encode(Keys.fault("overloaded", text)))
    next(state)
  end

  def handle_info({:handle, from, call}, state) do
    until_ms = now_ms() + call["timeout_ms"]
    queue = :queue.in({from, call, until_ms}, state.queue)
    next(%{state | queue: queue, waiting: state.waiting + 1})
  end

  def handle_info({:ran, pid, outcome}, %{run: %{pid: pid}} = state) do
    next(finish(state, outcome))
  end

  def handle_info({:timeout, timer, :look}, %{run: %{timer: timer}} = state) do
    next(look(state, now_ms()))
  end

  # Without an answer: the limit on its heap, or the implementation killed its own process.
  def handle_info({:EXIT, pid, _reason}, %{run: %{pid: pid}} = state) do
    text = "killed: over #{state.limits.max_memory_bytes} bytes of memory, or by itself"
    next(finish(state, Run.encode(Keys.fault("crashed", text))))
  end

  def handle_info(:timeout, state), do: {:stop, :normal, state}
  def handle_info(_late, state), do: next(state)

  defp start(from, call, state) do
    timeout_ms = call["timeout_ms"]
    started_ms = now_ms()
    pid = Run.spawn_link(state.served, call, state.limits.max_memory_bytes)
    run = %{pid: pid, from: from, operation: call["operation"], timer: nil}
    run = Map.merge(run, %{timeout_ms: timeout_ms, until_ms: started_ms + timeout_ms})
    %{state | run: arm(run, started_ms, state.limits.sample_ms)}
  end

  defp look(%{run: run} = state, now_ms) do
    cond do
      now_ms >= run.until_ms ->
        text = "#{run.operation} took longer than #{run.timeout_ms} ms"
        stop(state, Keys.fault("timeout", text))

      Run.binary_bytes(run.pid, state.limits.max_memory_bytes) > state.limits.max_memory_bytes ->
        text = "killed: over #{state.limits.max_memory_bytes} bytes of binaries"
        stop(state, Keys.fault("crashed", text))

      true ->
        %{state | run: arm(run, now_ms, state.limits.sample_ms)}
    end
  end

  defp stop(state, fault) do
    Process.exit(state.run.pid, :kill)
    finish(state, Run.encode(fault))
  end

  defp finish(%{run: run} = state, outcome) do
    _ = :erlang.cancel_timer(run.timer, async: true, info: false)
    reply(run.from, outcome)
    run_next(%{state | run: nil}, now_ms())
  end

  defp run_next(%{waiting: 0} = state, _now_ms), do: state

  defp run_next(state, now_ms) do
    {{:value, {from, call, until_ms}}, queue} = :queue.out(state.queue)
    state = %{state | queue: queue, waiting: state.waiting - 1}

    if now_ms < until_ms do
      start(from, call, state)
    else
      text = "waited #{call["timeout_ms"]} ms for #{state.subsystem}:#{state.key}, not run"
      reply(from, Run.encode(Keys.fault("overloaded", text)))
      run_next(state, now_ms)
    end
  end

  defp arm(run, now_ms, sample_ms) do
    delay_ms = min(sample_ms, max(run.until_ms - now_ms, 0))
    %{run | timer: :erlang.start_timer(delay_ms, self(), :look)}
  end

  defp reply(from, outcome), do: send(from, {from, outcome})

  defp next(%{run: nil} = state), do: {:noreply, state, state.limits.idle_ms}
  defp next(state), do: {:noreply, state}

  defp now_ms, do: System.monotonic_time(:millisecond)
end
