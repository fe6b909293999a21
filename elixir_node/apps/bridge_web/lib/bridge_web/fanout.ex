defmodule BridgeWeb.Fanout do
  @moduledoc """
  Events to everyone on a topic, by Phoenix.PubSub: a dispatcher, run by the topic's process.

  Any process may subscribe, `BridgeWeb.Endpoint.subscribe("heartbeat:main")`, and gets
  `%Phoenix.Socket.Broadcast{}` with the event's type and payload; `BridgeWeb.Topics.follow/1` says that
  it wants the topic followed though no client is there. A channel's socket gets the frame, encoded
  once per protocol, from the point on where its join was answered.
  """

  alias Phoenix.Socket.{Broadcast, Message}

  @doc "Subscribe a channel; nothing comes before the topic's process has attached it."
  @spec subscribe(String.t(), Phoenix.Socket.t()) :: :ok
  def subscribe(topic, socket) do
    metadata = {:socket, socket.transport_pid, socket.serializer}
    Phoenix.PubSub.subscribe(BridgeWeb.PubSub, topic, metadata: metadata)
  end

  @doc "Send an event (payload as JSON text) to the channels in `attached` and to other processes."
  @spec publish(String.t(), String.t(), String.t(), %{pid => term}) :: :ok
  def publish(topic, event, json, attached) do
    message = {topic, event, json, attached}
    Phoenix.PubSub.local_broadcast(BridgeWeb.PubSub, topic, message, __MODULE__)
  end

  @doc "Return an event's frame for a socket's process."
  @spec frame(module, String.t(), String.t(), String.t()) :: term
  def frame(serializer, topic, event, json) do
    payload = BridgeWeb.Serializer.json(json)
    serializer.fastlane!(%Broadcast{topic: topic, event: event, payload: payload})
  end

  @doc "Return the frame of a message to one channel, known by its topic and join_ref."
  @spec message(module, {String.t(), term}, String.t(), String.t()) :: term
  def message(serializer, {topic, join_ref}, event, json) do
    payload = BridgeWeb.Serializer.json(json)
    message = %Message{topic: topic, join_ref: join_ref, event: event, payload: payload}
    serializer.encode!(message)
  end

  @doc false
  def dispatch(entries, :none, {topic, event, json, attached}) do
    Enum.reduce(entries, %{}, fn
      {channel, {:socket, socket, serializer}}, made when is_map_key(attached, channel) ->
        made = Map.put_new_lazy(made, serializer, fn -> frame(serializer, topic, event, json) end)
        send(socket, made[serializer])
        made

      # Not yet attached; and Phoenix's own subscription of the same channel.
      {_channel, metadata}, made when is_tuple(metadata) ->
        made

      {process, _}, made ->
        made = Map.put_new_lazy(made, :decoded, fn -> Phoenix.json_library().decode!(json) end)
        send(process, %Broadcast{topic: topic, event: event, payload: made.decoded})
        made
    end)

    :ok
  end
end
