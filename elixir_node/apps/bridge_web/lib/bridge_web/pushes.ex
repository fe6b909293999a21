defmodule BridgeWeb.Pushes do
  @moduledoc """
  Pushes that wait for their answer, of the sockets of one partition.

  They go to the topic's worker in the order they came, each with an id for its message. What a worker
  leaves unanswered, because it is gone or stopping, goes to another one under the same id, so that
  nothing is done twice; the client sees nothing of it. They outlive their channel: what was pushed
  before a leave is answered.
  """

  use GenServer

  alias Bridge.Link.Connection
  alias BridgeWeb.{Serializer, Settings, Workers}

  # For a worker to come up, when there is none and nothing was sent.
  @patience_ms 3_000
  @retry_ms 100
  # The worker keeps the time itself; this is for one that does not.
  @grace_ms 1_000

  @type socket_ref :: {pid, module, String.t(), term, term}

  @doc false
  def start_link(_options) do
    timeout_ms = :persistent_term.get(Settings).timeout_ms
    GenServer.start_link(__MODULE__, timeout_ms + @grace_ms)
  end

  @doc "Have a push answered; `reference` is `Phoenix.Channel.socket_ref/1`'s."
  @spec push(socket_ref, map) :: :ok
  def push({socket, _, _, _, _} = reference, frame) do
    partition = {:via, PartitionSupervisor, {__MODULE__.Partitions, socket}}
    GenServer.cast(partition, {:push, reference, frame})
  end

  @doc "Say whether pushes of a socket wait for their answer."
  @spec waiting?(pid) :: boolean
  def waiting?(socket) do
    GenServer.call(
      {:via, PartitionSupervisor, {__MODULE__.Partitions, socket}},
      {:waiting?, socket}
    )
  end

  @impl true
  def init(timeout_ms) do
    state = %{
      timeout_ms: timeout_ms,
      next: 1,
      pushes: %{},
      sockets: %{},
      links: %{},
      lanes: %{},
      retry?: false
    }

    {:ok, state}
  end

  @impl true
  def handle_cast({:push, {pid, _, topic, _, _} = reference, frame}, state) do
    size = byte_size(frame["text"] || frame["base64"])
    {socket, state} = socket(state, pid)
    now_ms = now_ms()

    push = %{
      number: state.next,
      reference: reference,
      lane: {pid, topic},
      size: size,
      link: nil,
      sent?: false,
      patient_until_ms: now_ms + min(@patience_ms, state.timeout_ms),
      until_ms: now_ms + state.timeout_ms,
      asked: %{
        "topic" => topic,
        "socket" => socket.id,
        "frame" => frame,
        "id" => new_id(),
        "size" => size,
        "in_flight" => socket.in_flight,
        "in_flight_bytes" => socket.bytes
      }
    }

    lane = Map.get(state.lanes, push.lane, {nil, []})

    state =
      %{state | next: state.next + 1}
      |> put_in([:pushes, push.number], push)
      |> put_in([:sockets, pid], %{
        socket
        | in_flight: socket.in_flight + 1,
          bytes: socket.bytes + size
      })
      |> put_in([:lanes, push.lane], {elem(lane, 0), [push.number | elem(lane, 1)]})

    # Behind others that wait for a worker it waits too: it must not overtake them.
    if match?({nil, [_ | _]}, lane) do
      {:noreply, later(state, push)}
    else
      {:noreply, send_on(state, push.number)}
    end
  end

  @impl true
  def handle_call({:waiting?, socket}, _from, state) do
    {:reply, is_map_key(state.sockets, socket), state}
  end

  @impl true
  def handle_info({:answer, {number, link}, answer}, state) do
    case state.pushes do
      %{^number => push} -> {:noreply, answered(answer, push, link, state)}
      %{} -> {:noreply, state}
    end
  end

  def handle_info({:DOWN, _, :process, link, _}, state) when is_map_key(state.links, link) do
    state = %{state | links: Map.delete(state.links, link)}
    lanes = for {lane, {^link, _}} <- state.lanes, do: lane
    {:noreply, Enum.reduce(lanes, state, &move(&2, &1, [link]))}
  end

  def handle_info({:DOWN, _, :process, pid, _}, state) when is_map_key(state.sockets, pid) do
    {:noreply, close(state, pid)}
  end

  def handle_info(:retry, state) do
    waiting = for {lane, {nil, _}} <- state.lanes, do: lane
    {:noreply, Enum.reduce(waiting, %{state | retry?: false}, &move(&2, &1, []))}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # -- answers ------------------------------------------------------------------------------
  defp answered({:ok, %{"ok" => json}}, push, _link, state) do
    reply(state, push, {:ok, Serializer.json(json)})
  end

  # It was asked of another one meanwhile.
  defp answered(_answer, %{link: other}, link, state) when other != link, do: state

  defp answered({:ok, %{"error" => %{"code" => "draining"}}}, push, link, state) do
    move(state, push.lane, [link])
  end

  defp answered({:ok, %{"error" => error}}, push, _link, state) do
    reply(state, push, {:error, error})
  end

  defp answered({:error, :deadline}, push, _link, state) do
    reply(state, push, {:error, unknown(push)})
  end

  defp answered({:error, reason}, push, _link, state) do
    reply(state, push, {:error, Workers.failed(reason)})
  end

  defp unknown(push) do
    text = "sent, no answer: repeat with this message id to settle it"
    Workers.error("outcome_unknown", text, %{"message_id" => push.asked["id"]})
  end

  defp reply(state, push, answer) do
    Phoenix.Channel.reply(push.reference, answer)
    forget(state, push)
  end

  # -- workers -------------------------------------------------------------------------------
  # The lane's pushes go on in their order at another worker than those in `but`, if there is one.
  defp move(state, lane, but) do
    {_, numbers} = state.lanes[lane]
    state = put_in(state.lanes[lane], {nil, numbers})

    numbers
    |> Enum.reverse()
    |> Enum.reduce(state, fn number, state -> send_on(state, number, but) end)
  end

  defp send_on(state, number, but \\ []) do
    push = state.pushes[number]
    {link, numbers} = state.lanes[push.lane]
    link = link || Bridge.Topics.worker_of(push.asked["topic"], but)

    cond do
      link == nil or but == [link] ->
        state |> put_in([:lanes, push.lane], {nil, numbers}) |> later(push)

      now_ms() >= push.until_ms ->
        reply(state, push, {:error, unknown(push)})

      true ->
        left_ms = push.until_ms - now_ms()
        :ok = Connection.ask(link, :"edge.push", [push.asked], left_ms, {number, link})

        state
        |> watch(link)
        |> put_in([:lanes, push.lane], {link, numbers})
        |> put_in([:pushes, number], %{push | link: link, sent?: true})
    end
  end

  defp later(state, push) do
    now_ms = now_ms()

    cond do
      push.sent? and now_ms >= push.until_ms ->
        reply(state, push, {:error, unknown(push)})

      not push.sent? and now_ms >= push.patient_until_ms ->
        reply(state, push, {:error, Workers.none()})

      true ->
        state.retry? || Process.send_after(self(), :retry, @retry_ms)
        put_in(%{state | retry?: true}.pushes[push.number].link, nil)
    end
  end

  defp watch(state, link) when is_map_key(state.links, link), do: state
  defp watch(state, link), do: put_in(state.links[link], Process.monitor(link))

  # -- sockets -------------------------------------------------------------------------------
  defp socket(state, pid) do
    case state.sockets do
      %{^pid => socket} ->
        {socket, state}

      %{} ->
        id = pid |> :erlang.pid_to_list() |> List.to_string()
        socket = %{id: id, monitor: Process.monitor(pid), in_flight: 0, bytes: 0}
        {socket, state}
    end
  end

  defp forget(state, push) do
    {pid, _} = push.lane
    socket = state.sockets[pid]
    {link, numbers} = state.lanes[push.lane]

    lanes =
      case List.delete(numbers, push.number) do
        [] -> Map.delete(state.lanes, push.lane)
        numbers -> Map.put(state.lanes, push.lane, {link, numbers})
      end

    sockets =
      if socket.in_flight == 1 do
        Process.demonitor(socket.monitor, [:flush])
        Map.delete(state.sockets, pid)
      else
        rest = %{socket | in_flight: socket.in_flight - 1, bytes: socket.bytes - push.size}
        Map.put(state.sockets, pid, rest)
      end

    %{state | pushes: Map.delete(state.pushes, push.number), lanes: lanes, sockets: sockets}
  end

  # Its commands that have not begun are dropped by the worker; one that has begun goes on.
  defp close(state, pid) do
    socket = state.sockets[pid]
    mine = for {{^pid, _} = lane, {link, numbers}} <- state.lanes, do: {lane, link, numbers}

    for link <- mine |> Enum.map(&elem(&1, 1)) |> Enum.uniq(), link != nil do
      Connection.ask(link, :"edge.close", [%{"socket" => socket.id}], @grace_ms, :closed)
    end

    %{
      state
      | sockets: Map.delete(state.sockets, pid),
        lanes: Map.drop(state.lanes, Enum.map(mine, &elem(&1, 0))),
        pushes: Map.drop(state.pushes, Enum.flat_map(mine, &elem(&1, 2)))
    }
  end

  # A UUIDv4 (RFC 9562, 5.4).
  defp new_id do
    <<a::32, b::16, _::4, c::12, _::2, d::14, e::48>> = :crypto.strong_rand_bytes(16)

    [{a, 8}, {b, 4}, {0x4000 + c, 4}, {0x8000 + d, 4}, {e, 12}]
    |> Enum.map_join("-", fn {number, digits} ->
      number |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(digits, "0")
    end)
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
