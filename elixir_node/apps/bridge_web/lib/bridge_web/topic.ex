defmodule BridgeWeb.Topic do
  @moduledoc """
  One topic on this node: follows it at one worker, whoever wants it here, and fans its events out.

  The worker's answers and events come in one order, so a member is attached at the very event where
  its worker attached it: nothing is lost or repeated. When the worker is gone, the topic goes on at
  another one from the last position, and the joins without an answer are asked again. Where events
  were lost meanwhile every channel is expelled: it joins again, and is told of the gap.
  """

  use GenServer, restart: :temporary

  alias Bridge.Link.Connection
  alias BridgeWeb.{Fanout, Workers}

  @everyone 0
  # How long a join waits for a worker before it is refused, to be tried again by the client.
  @patience_ms 3_000
  @retry_ms 100
  @answer_ms 10_000
  # Channels in one call, when they go on at another worker.
  @together 500

  @doc false
  def start_link(topic) do
    GenServer.start_link(__MODULE__, topic, name: Bridge.Topics.name(topic))
  end

  @impl true
  def init(topic) do
    state = %{
      topic: topic,
      link: nil,
      monitor: nil,
      # Of the last event that was everyone's; nil while nobody was attached.
      position: nil,
      # The topic itself catches up at its second worker: joins wait.
      resuming?: false,
      next: 1,
      members: %{},
      sockets: %{},
      numbers: %{},
      attached: %{},
      retry?: false
    }

    {:ok, state}
  end

  @impl true
  def handle_call({:join, pid, member}, from, state) do
    state = replace(state, member.socket)
    if member.socket, do: :counters.add(member.topics, 1, 1)

    member =
      Map.merge(member, %{
        number: state.next,
        from: from,
        monitor: Process.monitor(pid),
        position: nil,
        # As others see it, nil if they do not; whether it was told who is there. See `stay/1`.
        present: nil,
        shown?: true,
        left?: true,
        until_ms: now_ms() + @patience_ms
      })

    state =
      state
      |> put_in([:members, pid], member)
      |> put_in([:numbers, state.next], pid)
      |> put_in([:sockets, member.socket], pid)
      |> Map.put(:next, state.next + 1)

    {:noreply, if(state.resuming?, do: state, else: ask(state, pid))}
  end

  @impl true
  def handle_cast({:leave, pid}, state) when is_map_key(state.members, pid) do
    {:noreply, state |> remove(pid) |> end_if_empty()}
  end

  def handle_cast({:leave, _pid}, state), do: {:noreply, state}

  def handle_cast({:sent_on, socket}, state) do
    case state.sockets do
      %{^socket => pid} -> {:noreply, put_in(state.members[pid].left?, false)}
      %{} -> {:noreply, state}
    end
  end

  @impl true
  def handle_info({:answer, {link, number}, answer}, %{link: link} = state) do
    settled(answer, number, state)
  end

  def handle_info({:told, link, [number, what | more]}, %{link: link} = state) do
    {:noreply, told(what, number, more, state)}
  end

  def handle_info({:DOWN, monitor, :process, _, _}, %{monitor: monitor} = state) do
    {:noreply, move(%{state | link: nil, monitor: nil}, [])}
  end

  def handle_info({:DOWN, _, :process, pid, _}, state) when is_map_key(state.members, pid) do
    {:noreply, state |> remove(pid) |> end_if_empty()}
  end

  def handle_info(:retry, state) do
    state = %{state | retry?: false}
    {:noreply, if(state.link, do: state, else: move(state, []))}
  end

  def handle_info(:end_if_empty, %{members: members} = state) when members == %{} do
    if state.link, do: tell(state, :"edge.leave", @everyone)
    {:stop, :normal, state}
  end

  def handle_info(_late_or_done, state), do: {:noreply, state}

  # -- answers ------------------------------------------------------------------------------
  defp settled({:ok, %{"error" => %{"code" => "draining"}}}, _number, state) do
    {:noreply, move(state, [state.link])}
  end

  defp settled({:ok, %{"ok" => response, "attached" => attached?}}, @everyone, state) do
    cond do
      response["gap"] -> {:noreply, state |> expel() |> resumed()}
      attached? -> {:noreply, resumed(state)}
      true -> {:noreply, state}
    end
  end

  # It cannot go on from there: whoever was attached joins again, and is told why.
  defp settled(_error, @everyone, state), do: {:noreply, state |> expel() |> resumed()}

  defp settled(answer, number, state) do
    case state.numbers do
      %{^number => pid} -> answered(answer, pid, state)
      %{} -> {:noreply, state}
    end
  end

  # It cannot go on from where it was: the client joins again, and is told so.
  defp answered({:ok, %{"ok" => %{"gap" => true}}}, pid, %{members: members} = state)
       when :erlang.map_get(:from, :erlang.map_get(pid, members)) == nil do
    send(pid, :expel)
    {:noreply, state}
  end

  defp answered({:ok, %{"ok" => response, "attached" => attached?} = answer}, pid, state) do
    state = state |> reply(pid, {:ok, response}) |> seen(pid, answer)
    position = response["position"]
    state = put_in(state.members[pid].position, position)
    {:noreply, if(attached?, do: attach(state, pid, position), else: state)}
  end

  defp answered({:ok, %{"error" => error}}, pid, state), do: refuse(state, pid, error)
  defp answered({:error, :deadline}, pid, state), do: refuse(state, pid, Workers.none())

  defp answered({:error, reason}, pid, state), do: refuse(state, pid, Workers.failed(reason))

  defp seen(state, pid, %{"present" => present}) do
    update_in(state.members[pid], &%{&1 | present: present, shown?: false})
  end

  defp seen(state, _pid, _nobody_is_seen), do: state

  # A channel that was joined already, and went on at another worker, is to join again.
  defp refuse(state, pid, error) do
    if state.members[pid].from == nil, do: send(pid, :expel)
    {:noreply, state |> reply(pid, {:error, error}) |> remove(pid) |> end_if_empty()}
  end

  defp reply(state, pid, answer) do
    if from = state.members[pid].from, do: GenServer.reply(from, answer)
    put_in(state.members[pid].from, nil)
  end

  # -- what the worker tells -----------------------------------------------------------------
  defp told("event", @everyone, [event, position, json], state) do
    :ok = Fanout.publish(state.topic, event, json, state.attached)
    %{state | position: position}
  end

  defp told("event", number, [event, position, json], state) do
    case state.numbers do
      %{^number => pid} ->
        member = state.members[pid]
        send(member.socket, Fanout.frame(member.serializer, state.topic, event, json))
        put_in(state.members[pid].position, position)

      %{} ->
        state
    end
  end

  defp told("presence", number, [json], state) do
    case state.numbers do
      %{^number => pid} ->
        member = state.members[pid]
        names = {state.topic, member.join_ref}
        send(member.socket, Fanout.message(member.serializer, names, "presence_state", json))
        put_in(state.members[pid].shown?, true)

      %{} ->
        state
    end
  end

  defp told("attached", @everyone, [position], state), do: resumed(%{state | position: position})

  defp told("attached", number, [position], state) do
    case state.numbers do
      %{^number => pid} -> attach(state, pid, position)
      %{} -> state
    end
  end

  defp told("expel", @everyone, [], state), do: expel(state)

  defp told("expel", number, [], state) do
    if pid = state.numbers[number], do: send(pid, :expel)
    state
  end

  defp told(_unknown, _number, _more, state), do: state

  defp attach(state, pid, position) do
    %{state | position: position, attached: Map.put(state.attached, pid, true)}
  end

  defp expel(state) do
    for {pid, _} <- state.attached, do: send(pid, :expel)
    %{state | attached: %{}}
  end

  defp resumed(%{resuming?: true} = state) do
    %{state | resuming?: false} |> ask_all()
  end

  defp resumed(state), do: state

  # -- workers -------------------------------------------------------------------------------
  # Go on at another worker than those in `but`, if there is one.
  defp move(state, but) do
    if state.monitor, do: Process.demonitor(state.monitor, [:flush])
    state = %{state | link: nil, monitor: nil, resuming?: false}

    case Bridge.Topics.worker_of(state.topic, but) do
      nil -> later(state)
      link when but == [link] -> later(state)
      link -> %{state | link: link, monitor: Process.monitor(link)} |> stay() |> follow()
    end
  end

  defp later(state) do
    state.retry? || Process.send_after(self(), :retry, @retry_ms)
    now_ms = now_ms()
    state = %{state | retry?: true}

    late = for {pid, m} <- state.members, m.from != nil, m.until_ms <= now_ms, do: pid

    Enum.reduce(late, state, fn pid, state ->
      {:noreply, state} = refuse(state, pid, Workers.none())
      state
    end)
  end

  # Who is there stays there: the next worker keeps their leases.
  defp stay(state) do
    channels =
      for {_, m} <- state.members, m.from == nil, m.present != nil or not m.shown? do
        [m.number, m.present, m.shown?]
      end

    for some <- Enum.chunk_every(channels, @together) do
      asked = %{"topic" => state.topic, "channels" => some}
      Connection.ask(state.link, :"edge.stay", [asked], @answer_ms, {state.link, nil})
    end

    state
  end

  defp follow(%{position: nil} = state), do: ask_all(state)

  defp follow(%{attached: attached} = state) when attached == %{}, do: ask_all(state)

  defp follow(state) do
    state = %{state | resuming?: true}
    tell(state, :"edge.join", @everyone, %{"since" => state.position})
    state
  end

  # Joins without an answer, and channels that were still catching up.
  defp ask_all(state) do
    waiting =
      for {pid, m} <- state.members, not is_map_key(state.attached, pid), do: {m.number, pid}

    waiting |> Enum.sort() |> Enum.reduce(state, fn {_, pid}, state -> ask(state, pid) end)
  end

  defp ask(%{link: nil} = state, _pid), do: move(state, [])

  defp ask(state, pid) do
    member = state.members[pid]

    asked =
      cond do
        member.from == nil -> %{"since" => member.position}
        member.socket -> Map.put(member.asked, "topics", :counters.get(member.topics, 1) - 1)
        true -> member.asked
      end

    tell(state, :"edge.join", member.number, asked)
    state
  end

  defp tell(state, function, number, more \\ %{}) do
    asked = Map.merge(%{"topic" => state.topic, "channel" => number}, more)
    Connection.ask(state.link, function, [asked], @answer_ms, {state.link, number})
  end

  # -- members -------------------------------------------------------------------------------
  # A socket has one channel of a topic: that of its older join has ended.
  defp replace(state, socket) do
    case state.sockets do
      %{^socket => pid} when socket != nil -> remove(state, pid)
      %{} -> state
    end
  end

  defp remove(state, pid) do
    {member, members} = Map.pop!(state.members, pid)
    Process.demonitor(member.monitor, [:flush])
    if member.socket, do: :counters.sub(member.topics, 1, 1)
    if state.link, do: tell(state, :"edge.leave", member.number, %{"left" => member.left?})

    %{
      state
      | members: members,
        numbers: Map.delete(state.numbers, member.number),
        sockets: Map.delete(state.sockets, member.socket),
        attached: Map.delete(state.attached, pid)
    }
  end

  # Not at once: a rejoin is on its way.
  defp end_if_empty(%{members: members} = state) do
    if members == %{}, do: Process.send_after(self(), :end_if_empty, @retry_ms)
    state
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
