defmodule Bridge.Link.Session do
  @moduledoc """
  The node's side of one link: what arrives, what to send, who is waited for. Pure.

  Every function returns `{:ok, session, actions}`; the owner carries the actions out, in order:

    * `{:send, iodata}`: a frame for the peer;
    * `{:greeted, answer}`: the peer has answered hello, and its calls are served from now on;
    * `{:refused, reason}`: it has not, or not as agreed; the link is of no use;
    * `{:handle, id, call}`: run an implementation, then hand its outcome to `answer/3`;
    * `{:heard, topic, message}`: what the peer tells of a topic, for whoever serves that here;
    * `{:answered, tag, {:ok, result} | {:error, reason}}`: a call of ours has ended;
    * `{:defect, text}`: the peer sent what it should not have, nothing else came of it;
    * `{:close, text}`: the stream is beyond repair.

  `hello/3` comes first; the peer's calls are refused until it has answered that.
  """

  alias Bridge.Link.{Framing, Messages}

  @protocol 1
  # The tag of the call of hello: no caller's.
  @hello {__MODULE__, :hello}

  @enforce_keys [:reader, :max_frame_bytes, :max_in_flight]
  defstruct reader: nil,
            max_frame_bytes: nil,
            max_in_flight: nil,
            open?: false,
            next_id: 1,
            calls: %{},
            handling: 0

  @type tag :: term
  @type action ::
          {:send, iodata}
          | {:greeted, map}
          | {:refused, term}
          | {:handle, Messages.id(), map}
          | {:heard, topic :: String.t(), list}
          | {:answered, tag, {:ok, term} | {:error, term}}
          | {:defect, String.t()}
          | {:close, String.t()}
  @type t :: %__MODULE__{
          reader: Framing.t(),
          max_frame_bytes: pos_integer,
          max_in_flight: pos_integer,
          open?: boolean,
          next_id: pos_integer,
          calls: %{Messages.id() => {tag, deadline_ms :: integer | :never}},
          handling: non_neg_integer
        }
  @type result :: {:ok, t, [action]}

  @doc "Return the version of the protocol that hello names."
  @spec protocol() :: pos_integer
  def protocol, do: @protocol

  @doc "Return a session that takes frames and calls up to these limits."
  @spec new(max_frame_bytes: pos_integer, max_in_flight: pos_integer) :: t
  def new(limits) do
    max_frame_bytes = Keyword.fetch!(limits, :max_frame_bytes)

    %__MODULE__{
      reader: Framing.new(max_frame_bytes),
      max_frame_bytes: max_frame_bytes,
      max_in_flight: Keyword.fetch!(limits, :max_in_flight)
    }
  end

  @doc "Say hello; `{:greeted, ...}` or `{:refused, ...}` follows."
  @spec hello(t, identity :: map, deadline_ms :: integer) :: result
  def hello(%__MODULE__{} = session, identity, deadline_ms) do
    call(session, :hello, [identity], @hello, deadline_ms)
  end

  @doc "Ask the peer; `{:answered, tag, ...}` follows at the latest from `expire/2` at its time."
  @spec call(t, atom, list, tag, deadline_ms :: integer | :never) :: result
  def call(%__MODULE__{} = session, function, args, tag, deadline_ms) do
    if map_size(session.calls) < session.max_in_flight do
      id = session.next_id
      calls = Map.put(session.calls, id, {tag, deadline_ms})
      session = %{session | next_id: id + 1, calls: calls}
      {:ok, session, [{:send, Framing.frame(Messages.call(id, function, args))}]}
    else
      {:ok, session, [{:answered, tag, {:error, :overloaded}}]}
    end
  end

  @doc "Feed what was read."
  @spec feed(t, binary) :: result
  def feed(%__MODULE__{} = session, data) do
    case session.reader |> Framing.feed(data) |> Framing.take() do
      {:ok, frames, reader} ->
        {session, actions} = frames(frames, %{session | reader: reader})
        {:ok, session, Enum.reverse(actions)}

      {:error, text, frames} ->
        {session, actions} = frames(frames, session)
        {:ok, session, Enum.reverse([{:close, text} | actions])}
    end
  end

  @doc "Answer the peer's call `id` with an outcome: a term, or bytes of `Messages.encode/1`."
  @spec answer(t, Messages.id(), map | binary) :: result
  def answer(%__MODULE__{} = session, id, outcome) do
    session = %{session | handling: session.handling - 1}
    {:ok, session, [{:send, Framing.frame(result(session, id, outcome))}]}
  end

  @doc "End the calls whose time is over; a late answer to one is dropped."
  @spec expire(t, now_ms :: integer) :: result
  def expire(%__MODULE__{} = session, now_ms) do
    # As an atom, :never is greater than every number.
    over = for {id, {_tag, at_ms}} <- session.calls, at_ms <= now_ms, do: id

    {session, actions} =
      over |> Enum.sort() |> Enum.reduce({session, []}, &settle(&1, {:error, :deadline}, &2))

    {:ok, session, Enum.reverse(actions)}
  end

  defp frames(frames, session), do: Enum.reduce(frames, {session, []}, &frame/2)

  defp frame({:oversized, head, size}, {session, actions}) do
    case Messages.oversized(head, size, session.max_frame_bytes) do
      {:error, {:undecodable, nil, nil, text}} -> {session, [{:defect, text} | actions]}
      {:error, undecodable} -> receive_undecodable(undecodable, session, actions)
    end
  end

  defp frame(frame, {session, actions}) do
    case Messages.decode(frame, session.max_frame_bytes) do
      {:ok, message} ->
        receive_message(message, session, actions)

      # A term of another kind is its own fault and costs no other call. What is no term at all
      # says that the stream has slipped: a length was read out of a text.
      {:error, {:undecodable, nil, nil, text}} ->
        {session,
         [{if(match?(<<131, _::binary>>, frame), do: :defect, else: :close), text} | actions]}

      {:error, undecodable} ->
        receive_undecodable(undecodable, session, actions)
    end
  end

  defp receive_message({:call, id, :bridge, :ping, []}, session, actions) do
    {session, [send_frame(Messages.result(id, :pong)) | actions]}
  end

  defp receive_message({:call, id, :bridge, :handle, [call]}, session, actions)
       when session.open? do
    cond do
      not call?(call) ->
        refuse(
          id,
          :bad_value,
          "handle: expected a map with the members of a call",
          session,
          actions
        )

      session.handling >= session.max_in_flight ->
        text = "#{session.handling} calls on the link, limit is #{session.max_in_flight}"
        overloaded = %{"fault" => %{"kind" => "overloaded", "message" => text}}
        {session, [send_frame(Messages.result(id, overloaded)) | actions]}

      true ->
        {%{session | handling: session.handling + 1}, [{:handle, id, call} | actions]}
    end
  end

  defp receive_message({:call, id, :bridge, :handle, [_]}, session, actions) do
    refuse(id, :no_hello, "handle before hello was answered", session, actions)
  end

  defp receive_message({:call, id, module, function, args}, session, actions) do
    text = "no function #{module}:#{function}/#{length(args)} is registered"
    refuse(id, :unknown_function, text, session, actions)
  end

  defp receive_message({:result, id, result}, session, actions) do
    settle(id, {:ok, result}, {session, actions})
  end

  defp receive_message({:error, id, error}, session, actions) do
    settle(id, {:error, error}, {session, actions})
  end

  defp receive_message({:cast, :bridge, ["edge", topic | message]}, session, actions)
       when is_binary(topic) do
    {session, [{:heard, topic, message} | actions]}
  end

  defp receive_message({:cast, _to, _other}, session, actions) do
    {session, [{:defect, "an unknown message was dropped"} | actions]}
  end

  defp receive_message({:cast_failed, _error}, session, actions) do
    {session, [{:defect, "a message of ours failed at the peer"} | actions]}
  end

  defp receive_message({:printed, text}, session, actions) do
    {session, [{:defect, "printed: #{String.slice(text, 0, 500)}"} | actions]}
  end

  defp receive_undecodable({:undecodable, :call, id, text}, session, actions) do
    refuse(id, :bad_term, text, session, actions)
  end

  defp receive_undecodable({:undecodable, :answer, id, text}, session, actions) do
    settle(id, {:error, {:undecodable, text}}, {session, actions})
  end

  defp settle(id, answer, {session, actions}) do
    case Map.pop(session.calls, id) do
      # A late answer: its call has expired.
      {nil, _calls} ->
        {session, actions}

      {{@hello, _}, calls} ->
        greet(answer, %{session | calls: calls}, actions)

      {{tag, _}, calls} ->
        {%{session | calls: calls}, [{:answered, tag, answer} | actions]}
    end
  end

  # Here and not by the owner: the peer's first call may be in the same read as its answer.
  defp greet(
         {:ok, %{"protocol" => @protocol, "worker" => _, "pid" => _} = hello},
         session,
         actions
       ) do
    {%{session | open?: true}, [{:greeted, hello} | actions]}
  end

  defp greet({:ok, _other}, session, actions) do
    {session, [{:refused, "hello: expected protocol #{@protocol} and a worker"} | actions]}
  end

  defp greet({:error, reason}, session, actions) do
    {session, [{:refused, reason} | actions]}
  end

  defp refuse(id, class, text, session, actions) do
    {session, [send_frame(Messages.error(id, class, text)) | actions]}
  end

  defp send_frame(body), do: {:send, Framing.frame(body)}

  defp result(session, id, outcome) when is_binary(outcome) do
    body = Messages.encoded_result(id, outcome)
    size = IO.iodata_length(body)

    if size <= session.max_frame_bytes do
      body
    else
      text = "an answer of #{size} bytes, the link's limit is #{session.max_frame_bytes}"
      fault = %{"fault" => %{"kind" => "not_serialisable", "message" => text}}
      Messages.result(id, fault)
    end
  end

  defp result(_session, id, outcome), do: Messages.result(id, outcome)

  defp call?(%{
         "subsystem" => subsystem,
         "key" => key,
         "operation" => operation,
         "kind" => kind,
         "request" => _,
         "state" => _,
         "context" => context,
         "digest" => digest,
         "timeout_ms" => timeout_ms
       }) do
    Enum.all?([subsystem, key, operation, kind, digest], &is_binary/1) and is_map(context) and
      is_integer(timeout_ms) and timeout_ms > 0
  end

  defp call?(_other), do: false
end
