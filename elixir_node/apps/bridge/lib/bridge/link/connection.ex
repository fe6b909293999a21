defmodule Bridge.Link.Connection do
  @moduledoc """
  One link to a gateway worker: carries out what its `Bridge.Link.Session` says.

  It never blocks on the peer: a `Bridge.Link.Writer` does. While that one writes, frames
  collect here and leave as one batch; a peer that leaves more than `max_unsent_bytes` unread is
  cut off. The owner receives `{:link_up, pid, answer to hello}`, and monitors the process: it
  ends with `{:shutdown, reason}`.
  """

  use GenServer, restart: :temporary

  alias Bridge.{Activities, Keys, Telemetry, Topics}
  alias Bridge.Link.{Liveness, Session, Writer}

  @tick_ms 1_000

  @type option ::
          {:name, String.t()}
          | {:owner, pid}
          | {:transport, {module, keyword}}
          | {:identity, map | (() -> map)}
          | {:keys, Keys.t()}
          | {:activities, Activities.t()}
          | {:max_frame_bytes, pos_integer}
          | {:max_in_flight, pos_integer}
          | {:max_unsent_bytes, pos_integer}
          | {:hello_ms, pos_integer}
          | {:pong_ms, pos_integer}
          | {:guards?, boolean}

  # `guards?`: this node is the only one to end the peer if it hangs. True of its children and of
  # orphans; a worker that was started by somebody else is that one's.
  @defaults %{
    hello_ms: 60_000,
    pong_ms: 15_000,
    max_unsent_bytes: 67_108_864,
    guards?: false
  }

  @doc "Open a link; `identity`, or what it returns then, is what hello says of this node."
  @spec start_link([option]) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, Map.new(options))

  @doc "Ask the worker; returns within `timeout_ms` whatever the worker does."
  @spec call(pid, atom, list, pos_integer) :: {:ok, term} | {:error, term}
  def call(connection, function, args, timeout_ms) do
    GenServer.call(connection, {:call, function, args, timeout_ms}, :infinity)
  catch
    :exit, _ -> {:error, :closed}
  end

  @doc """
  Ask the worker; the caller receives `{:answer, tag, {:ok, result} | {:error, reason}}` in the order
  of what the worker sends. None comes if this process ends before: monitor it.
  """
  @spec ask(pid, atom, list, pos_integer, term) :: :ok
  def ask(connection, function, args, timeout_ms, tag) do
    GenServer.cast(connection, {:ask, {self(), tag}, function, args, timeout_ms})
  end

  @doc "Ask the worker without waiting for its answer."
  @spec request(pid, atom) :: :ok
  def request(connection, function), do: tell(connection, function, [])

  @doc "As `request/2`, with arguments."
  @spec tell(pid, atom, list) :: :ok
  def tell(connection, function, args) do
    GenServer.cast(connection, {:request, function, args})
  end

  @doc "End the link, and the worker with it where it is this node's to guard."
  @spec kill(pid, String.t()) :: :ok
  def kill(connection, reason), do: GenServer.cast(connection, {:kill, reason})

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    # A link without its owner would be a second worker beside the one started in its place.
    Process.monitor(options.owner)
    {:ok, Map.merge(@defaults, options), {:continue, :open}}
  end

  @impl true
  def handle_continue(:open, %{transport: {transport, options}} = state) do
    case transport.open(options) do
      {:ok, open} -> {:noreply, state |> opened(transport, open) |> hello()}
      {:error, reason} -> {:stop, {:shutdown, {:unreachable, reason}}, state}
    end
  end

  defp opened(state, transport, open) do
    limits = [max_frame_bytes: state.max_frame_bytes, max_in_flight: state.max_in_flight]
    schedule_tick()

    Map.merge(state, %{
      transport: transport,
      open: open,
      writer: Writer.start_link(transport, open),
      session: Session.new(limits),
      handles: %{},
      unsent: [],
      unsent_bytes: 0,
      writing?: false,
      liveness: Liveness.new(@tick_ms, state.pong_ms, now_ms())
    })
  end

  defp hello(state) do
    identity = if is_function(state.identity), do: state.identity.(), else: state.identity
    {:ok, session, actions} = Session.hello(state.session, identity, deadline(state.hello_ms))

    expire_in(state.hello_ms)
    {:noreply, state} = carry_out(actions, %{state | session: session})
    state
  end

  @impl true
  def handle_call({:call, function, args, timeout_ms}, from, state) do
    expire_in(timeout_ms)
    session(state, &Session.call(&1, function, args, {:caller, from}, deadline(timeout_ms)))
  end

  @impl true
  def handle_cast({:request, function, args}, state) do
    session(state, &Session.call(&1, function, args, :request, deadline(state.pong_ms)))
  end

  def handle_cast({:ask, asker, function, args, timeout_ms}, state) do
    expire_in(timeout_ms)
    session(state, &Session.call(&1, function, args, {:asker, asker}, deadline(timeout_ms)))
  end

  def handle_cast({:kill, reason}, state), do: kill_peer(reason, state)

  @impl true
  def handle_info({Writer, :written}, state), do: {:noreply, flush(%{state | writing?: false})}
  def handle_info({Writer, {:failed, reason}}, state), do: down(reason, state)

  def handle_info({:EXIT, writer, reason}, %{writer: writer} = state), do: down(reason, state)

  def handle_info({ref, outcome}, state) when is_map_key(state.handles, ref) do
    {{id, _call, _until_ms}, handles} = Map.pop!(state.handles, ref)
    session(%{state | handles: handles}, &Session.answer(&1, id, outcome))
  end

  def handle_info({:DOWN, ref, :process, _, reason}, state)
      when is_map_key(state.handles, ref) do
    {{id, call, until_ms}, handles} = Map.pop!(state.handles, ref)
    state = %{state | handles: handles}

    # It was idle: another one takes the call. No longer than the call has time for, as an
    # implementation may be what ends it.
    if reason in [:normal, :noproc] and now_ms() < until_ms do
      id |> dispatch(call, until_ms, state) |> flushed()
    else
      fault = Keys.fault("crashed", "the key's process ended: #{inspect(reason, limit: 5)}")
      session(state, &Session.answer(&1, id, fault))
    end
  end

  def handle_info({:DOWN, _, :process, owner, _}, %{owner: owner} = state) do
    {:stop, {:shutdown, :no_owner}, state}
  end

  def handle_info(:expire, state), do: session(state, &Session.expire(&1, now_ms()))
  def handle_info(:tick, state), do: tick(state)

  def handle_info(message, state) do
    case state.transport.received(state.open, message) do
      {:data, data} -> session(state, &Session.feed(&1, data))
      {:closed, reason} -> down(reason, state)
      _ -> {:noreply, state}
    end
  end

  @impl true
  def terminate(_reason, %{open: open} = state) do
    Process.unlink(state.writer)
    Process.exit(state.writer, :kill)
    state.transport.close(open)
  end

  def terminate(_reason, _state), do: :ok

  defp session(state, function) do
    {:ok, session, actions} = function.(state.session)
    carry_out(actions, %{state | session: session})
  end

  defp carry_out([], state), do: flushed(state)

  defp carry_out([action | rest], state) do
    case act(action, state) do
      %{} = state -> carry_out(rest, state)
      {:stop, _, _} = stop -> stop
    end
  end

  defp flushed(state) do
    if state.unsent_bytes > state.max_unsent_bytes do
      down("#{state.unsent_bytes} bytes unread, limit is #{state.max_unsent_bytes}", state)
    else
      {:noreply, flush(state)}
    end
  end

  defp act({:send, frame}, state) do
    bytes = state.unsent_bytes + IO.iodata_length(frame)
    %{state | unsent: [state.unsent | frame], unsent_bytes: bytes}
  end

  defp act({:handle, id, call}, state),
    do: dispatch(id, call, deadline(call["timeout_ms"]), state)

  defp act({:greeted, hello}, state) do
    %{"worker" => worker, "pid" => pid} = hello
    Telemetry.emit(:link_up, %{peer: state.name, worker: worker, pid: pid})

    for {subsystem, reason} <- Map.get(hello, "refused", %{}) do
      data = %{worker: worker, subsystem: subsystem, reason: reason}
      Telemetry.emit(:subsystem_refused, data)
    end

    :ok = Topics.worker_up(worker)
    send(state.owner, {:link_up, self(), hello})
    %{state | guards?: state.guards? or hello["orphan"] == true}
  end

  defp act({:refused, :deadline}, state) do
    kill_peer("no answer to hello within #{state.hello_ms} ms", state)
  end

  defp act({:refused, reason}, state) do
    Telemetry.emit(:link_refused, %{peer: state.name, reason: reason})
    {:stop, {:shutdown, {:refused, reason}}, state}
  end

  # An error counts too: the ping was not sent because too many calls wait, the next one may be.
  defp act({:answered, :ping, _answer}, state) do
    %{state | liveness: Liveness.pong(state.liveness)}
  end

  defp act({:answered, :request, _answer}, state), do: state

  defp act({:answered, {:caller, from}, answer}, state) do
    GenServer.reply(from, answer)
    state
  end

  defp act({:answered, {:asker, {pid, tag}}, answer}, state) do
    send(pid, {:answer, tag, answer})
    state
  end

  defp act({:heard, topic, message}, state) do
    :ok = Topics.tell(topic, message)
    state
  end

  defp act({:defect, text}, state) do
    Telemetry.emit(:peer_defect, %{peer: state.name, defect: text})
    state
  end

  defp act({:close, text}, state), do: down(text, state)

  defp dispatch(id, call, until_ms, state) do
    case dispatched(call, state) do
      {:ok, ref} ->
        %{state | handles: Map.put(state.handles, ref, {id, call, until_ms})}

      {:error, fault} ->
        {:ok, session, actions} = Session.answer(state.session, id, fault)
        Enum.reduce(actions, %{state | session: session}, &act/2)
    end
  end

  defp dispatched(%{"kind" => kind} = call, %{activities: activities})
       when kind in ["activity", "cancel"],
       do: Activities.dispatch(activities, call)

  defp dispatched(call, state), do: Keys.dispatch(state.keys, call)

  defp tick(%{session: %{open?: false}} = state) do
    schedule_tick()
    {:noreply, %{state | liveness: Liveness.new(@tick_ms, state.pong_ms, now_ms())}}
  end

  defp tick(state) do
    schedule_tick()
    {what, liveness} = Liveness.tick(state.liveness, now_ms())
    state = %{state | liveness: liveness}

    case what do
      :ping -> session(state, &Session.call(&1, :ping, [], :ping, :never))
      :wait -> {:noreply, state}
      :silent -> kill_peer("no pong for #{liveness.silent_ms} ms", state)
    end
  end

  defp flush(%{writing?: false, unsent_bytes: bytes} = state) when bytes > 0 do
    # One binary: a driver's queue of many small pieces is slow.
    Writer.write(state.writer, IO.iodata_to_binary(state.unsent))
    %{state | writing?: true, unsent: [], unsent_bytes: 0}
  end

  defp flush(state), do: state

  defp kill_peer(reason, state) do
    case state.guards? && state.transport.os_pid(state.open) do
      none when none in [nil, false] ->
        down(reason, state)

      pid ->
        Telemetry.emit(:worker_killed, %{peer: state.name, pid: pid, reason: reason})
        _ = System.cmd("kill", ["-9", Integer.to_string(pid)], stderr_to_stdout: true)
        {:stop, {:shutdown, reason}, state}
    end
  end

  defp down(reason, state), do: {:stop, {:shutdown, reason}, state}

  defp schedule_tick, do: Process.send_after(self(), :tick, @tick_ms)
  defp expire_in(ms), do: Process.send_after(self(), :expire, ms + 1)
  defp deadline(ms), do: now_ms() + ms
  defp now_ms, do: System.monotonic_time(:millisecond)
end
