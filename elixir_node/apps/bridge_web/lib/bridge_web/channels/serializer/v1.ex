defmodule BridgeWeb.Serializer.V1 do
  @moduledoc "Version 1.0.0: objects without join_ref, in text or binary frames alike."

  @behaviour Phoenix.Socket.Serializer

  import BridgeWeb.Serializer, only: [is_head: 4]
  alias BridgeWeb.Serializer
  alias Phoenix.Socket.{Broadcast, Message, Reply}

  @impl true
  def fastlane!(%Broadcast{topic: topic, event: event, payload: payload}) do
    encode(topic, event, payload, nil)
  end

  @impl true
  def encode!(%Reply{} = reply) do
    payload = %{status: reply.status, response: Serializer.payload(reply)}
    encode(reply.topic, "phx_reply", payload, reply.ref)
  end

  def encode!(%Message{} = message) do
    encode(message.topic, message.event, message.payload, Serializer.name(message.ref))
  end

  defp encode(topic, event, payload, ref) do
    frame = %{topic: topic, event: event, payload: payload, ref: ref}
    {:socket_push, :text, Phoenix.json_library().encode_to_iodata!(frame)}
  end

  @impl true
  def decode!(%Message{} = message, _options), do: message

  def decode!(data, options) do
    payload = Serializer.frame("1.0.0", data, options)

    with {:ok, %{"topic" => topic, "event" => event, "ref" => ref} = frame} <-
           Phoenix.json_library().decode(data),
         join_ref = frame["join_ref"],
         true <- is_head(join_ref, ref, topic, event) do
      %Message{join_ref: join_ref, ref: ref, topic: topic, event: event, payload: payload}
    else
      _ -> {:unreadable, payload}
    end
  end
end
