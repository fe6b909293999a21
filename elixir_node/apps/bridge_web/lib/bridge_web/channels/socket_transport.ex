defmodule BridgeWeb.SocketTransport do
  @moduledoc """
  Between the WebSocket and `BridgeWeb.UserSocket`: what the bridge does otherwise than Phoenix.

  A frame that cannot be read is answered, not the end of the socket, unless ten come in a row; a push
  with the join_ref of another join is dropped and one without is of the present join, in both
  versions of the protocol; a socket is closed for being idle or slow with codes of its own. See
  "Where it differs from Phoenix" in docs/protocol.md.
  """

  @behaviour Phoenix.Socket.Transport

  alias BridgeWeb.{Drainer, Pushes, Settings, Topics, UserSocket, Workers}
  alias Phoenix.Socket.{Message, Reply}

  @unreadable_in_a_row 10
  @close_binary 1003
  @close_unreadable 1008
  @close_slow 1013
  @close_idle 4408
  @close_drained 1012
  @look_ms 5_000
  @slow_ms 1_000
  # Below the second after which phoenix.js joins again.
  @answer_on_ms 300

  # `joins`: the join_ref by topic; `draining_until_ms`: since when it sends its client on.
  defstruct [:inner, :heard_ms, :slow_since_ms, :draining_until_ms, joins: %{}, unreadable: 0]

  @impl true
  defdelegate child_spec(options), to: UserSocket

  @impl true
  def drainer_spec(_options), do: {Drainer, settings().drain_ms}

  @impl true
  defdelegate connect(info), to: UserSocket

  @impl true
  def init(state) do
    {:ok, inner} = UserSocket.init(state)
    :ok = Drainer.register()
    look()
    {:ok, %__MODULE__{inner: inner, heard_ms: now_ms()}}
  end

  @impl true
  def handle_in({data, options}, state) do
    {_, %{serializer: serializer}} = state.inner
    state = %{state | heard_ms: now_ms()}

    case serializer.decode!(data, options) do
      %Message{} = message -> receive_message(message, options, %{state | unreadable: 0})
      {:unreadable, frame} -> refuse(frame, serializer, options[:opcode], state)
    end
  end

  @impl true
  def handle_control(_frame, state), do: {:ok, %{state | heard_ms: now_ms()}}

  @impl true
  def handle_info({__MODULE__, :look}, state) do
    look()
    idle_ms = now_ms() - state.heard_ms

    if idle_ms >= settings().idle_timeout_ms do
      {:stop, :normal, @close_idle, state}
    else
      {:ok, state}
    end
  end

  def handle_info({__MODULE__, {:drain, drain_ms}}, state) do
    {_, %{serializer: serializer}} = state.inner
    Process.send_after(self(), {__MODULE__, :drained}, @answer_on_ms)

    frames =
      for {topic, join_ref} <- state.joins do
        :ok = Topics.sent_on(topic, self())
        error = %Message{join_ref: join_ref, ref: join_ref, topic: topic, event: "phx_error"}
        encode(serializer, %{error | payload: %{}})
      end

    {:push, frames, %{state | draining_until_ms: now_ms() + drain_ms}}
  end

  def handle_info({__MODULE__, :drained}, state) do
    if Pushes.waiting?(self()) and now_ms() < state.draining_until_ms do
      Process.send_after(self(), {__MODULE__, :drained}, @answer_on_ms)
      {:ok, state}
    else
      {:stop, :normal, @close_drained, state}
    end
  end

  def handle_info(message, state) do
    state = watch_queue(state)

    if state.slow_since_ms != nil and now_ms() - state.slow_since_ms > @slow_ms do
      {:stop, :normal, {@close_slow, "too slow: join again with since"}, state}
    else
      message |> UserSocket.handle_info(state.inner) |> keep(state)
    end
  end

  @impl true
  def terminate(reason, state), do: UserSocket.terminate(reason, state.inner)

  defp receive_message(%Message{event: "phx_join"} = message, _options, state)
       when state.draining_until_ms != nil do
    {_, %{serializer: serializer}} = state.inner
    error = Workers.error("draining", "this node is stopping: connect again")
    reply = %Reply{topic: message.topic, ref: message.ref, join_ref: message.join_ref}
    {:push, encode(serializer, %{reply | status: :error, payload: error}), state}
  end

  # A join without join_ref is known by its ref, see the serializers.
  defp receive_message(%Message{event: "phx_join"} = message, options, state) do
    join_ref = if is_nil(message.join_ref), do: {:ref, message.ref}, else: message.join_ref
    joins = Map.put(state.joins, message.topic, join_ref)
    pass(%{message | join_ref: join_ref}, options, %{state | joins: joins})
  end

  defp receive_message(%Message{topic: topic} = message, options, state) do
    case state.joins do
      %{^topic => join_ref} when is_nil(message.join_ref) or message.join_ref === join_ref ->
        left? = message.event == "phx_leave"
        state = if left?, do: %{state | joins: Map.delete(state.joins, topic)}, else: state
        pass(%{message | join_ref: join_ref}, options, state)

      %{^topic => _another} ->
        {:ok, state}

      %{} ->
        pass(message, options, state)
    end
  end

  defp pass(message, options, state) do
    {message, options} |> UserSocket.handle_in(state.inner) |> keep(state)
  end

  defp refuse(frame, serializer, opcode, state) do
    answer = Workers.refuse(frame)

    reply = %Reply{
      join_ref: answer["join_ref"],
      ref: answer["ref"],
      topic: answer["topic"],
      status: :error,
      payload: answer["error"]
    }

    frame = encode(serializer, reply)
    count = if answer["addressed"], do: 0, else: state.unreadable + 1
    state = %{state | unreadable: count}

    if count >= @unreadable_in_a_row do
      code = if opcode == :binary, do: @close_binary, else: @close_unreadable
      {:stop, :normal, code, [frame], state}
    else
      {:push, frame, state}
    end
  end

  defp keep({:ok, inner}, state), do: {:ok, %{state | inner: inner}}
  defp keep({:push, frame, inner}, state), do: {:push, frame, %{state | inner: inner}}
  defp keep({:reply, status, frame, inner}, s), do: {:reply, status, frame, %{s | inner: inner}}
  defp keep({:stop, reason, inner}, state), do: {:stop, reason, %{state | inner: inner}}
  defp keep({:stop, reason, code, inner}, s), do: {:stop, reason, code, %{s | inner: inner}}

  # Writing waits for the client, so what it does not read waits before this process. A burst is
  # not yet slowness.
  defp watch_queue(state) do
    {:message_queue_len, waiting} = Process.info(self(), :message_queue_len)

    cond do
      waiting <= settings().max_queue_frames -> %{state | slow_since_ms: nil}
      state.slow_since_ms == nil -> %{state | slow_since_ms: now_ms()}
      true -> state
    end
  end

  defp encode(serializer, message) do
    {:socket_push, opcode, payload} = serializer.encode!(message)
    {opcode, payload}
  end

  defp look do
    Process.send_after(
      self(),
      {__MODULE__, :look},
      min(@look_ms, div(settings().idle_timeout_ms, 4))
    )
  end

  defp settings, do: :persistent_term.get(Settings)
  defp now_ms, do: System.monotonic_time(:millisecond)
end
