defmodule Bridge.Keys.Server do
  @moduledoc """
  One key of one subsystem: its calls one after the other, each in a process of its own.

  State comes with every call and leaves with its answer, so this process has nothing to lose.
  It ends when idle. A call that has waited longer than its own time is not run any more.
  """

  use GenServer, restart: :temporary

  alias Bridge.Keys
  alias Bridge.Keys.{Kin, Run, Watch}

  @max_kin 1_000

  @type limits :: %{
          idle_ms: pos_integer,
          max_keys: pos_integer,
          max_queue: pos_integer,
          max_memory_bytes: pos_integer,
          sample_ms: pos_integer
        }

  @doc "Return the limits: idle time, keys, waiting calls, memory of a key or run and its sampling."
  @spec default_limits() :: limits
  def default_limits do
    %{
      idle_ms: 60_000,
      max_keys: 100_000,
      max_queue: 1_024,
      max_memory_bytes: 134_217_728,
      sample_ms: 20
    }
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
    Process.flag(:max_heap_size, Run.heap(options.limits.max_memory_bytes))
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

  def handle_info({:timeout, timer, :late}, %{run: %{timer: timer}} = state) do
    next(stop(state, late(state.run)))
  end

  # From the watch, or from itself while the run has started anything.
  def handle_info(:look, %{run: %{}} = state), do: next(look(state))

  # Without an answer: the limit on its heap, or the implementation killed its own process.
  def handle_info({:EXIT, pid, _reason}, %{run: %{pid: pid} = run} = state) do
    text = "killed: over #{state.limits.max_memory_bytes} bytes of memory, or by itself"
    late? = now_ms() >= run.until_ms
    next(finish(state, Run.encode(if(late?, do: late(run), else: Keys.fault("crashed", text)))))
  end

  # What a run started, told after its end.
  def handle_info({:trace, _, :spawn, pid, _}, %{run: nil} = state) do
    Process.exit(pid, :kill)
    next(state)
  end

  def handle_info(trace, %{run: %{}} = state) when elem(trace, 0) == :trace do
    next(kin(state, trace))
  end

  def handle_info(:timeout, state), do: {:stop, :normal, state}
  def handle_info(_late, state), do: next(state)

  defp start(from, call, state) do
    timeout_ms = call["timeout_ms"]
    started_ms = now_ms()
    pid = Run.spawn_link(state.served, call, state.limits.max_memory_bytes)
    until_ms = started_ms + timeout_ms
    true = Watch.begin(state.watch, until_ms, pid)

    run = %{
      pid: pid,
      from: from,
      operation: call["operation"],
      kin: Kin.new(),
      timeout_ms: timeout_ms,
      until_ms: until_ms,
      timer: :erlang.start_timer(timeout_ms, self(), :late)
    }

    %{state | run: run}
  end

  defp kin(%{run: run} = state, trace) do
    kin = Kin.told(run.kin, trace)
    state = %{state | run: %{run | kin: kin}}
    started? = map_size(kin.processes) > map_size(run.kin.processes)

    cond do
      started? and map_size(kin.processes) > @max_kin ->
        stop(state, Keys.fault("crashed", "killed: over #{@max_kin} processes"))

      started? and map_size(run.kin.processes) == 0 ->
        look_again(state)

      true ->
        state
    end
  end

  defp look(%{run: run, limits: %{max_memory_bytes: most}} = state) do
    alone? = map_size(run.kin.processes) == 0

    cond do
      alone? and Run.binary_bytes(run.pid, most) <= most ->
        state

      alone? ->
        stop(state, Keys.fault("crashed", "killed: over #{most} bytes of binaries"))

      Kin.bytes(run.kin, run.pid) > most ->
        text = "killed: over #{most} bytes of memory, with what it started"
        stop(state, Keys.fault("crashed", text))

      true ->
        look_again(state)
    end
  end

  defp look_again(state) do
    Process.send_after(self(), :look, state.limits.sample_ms)
    state
  end

  defp late(run) do
    Keys.fault("timeout", "#{run.operation} took longer than #{run.timeout_ms} ms")
  end

  defp stop(state, fault) do
    Process.exit(state.run.pid, :kill)
    finish(state, Run.encode(fault))
  end

  defp finish(%{run: run} = state, outcome) do
    _ = :erlang.cancel_timer(run.timer, async: true, info: false)
    true = Watch.ended(state.watch, run.until_ms, run.pid)
    :ok = Kin.finish(run.kin)
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

  defp reply(from, outcome), do: send(from, {from, outcome})

  defp next(%{run: nil} = state), do: {:noreply, state, state.limits.idle_ms}
  defp next(state), do: {:noreply, state}

  defp now_ms, do: System.monotonic_time(:millisecond)
end
