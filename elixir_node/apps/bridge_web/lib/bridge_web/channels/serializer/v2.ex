defmodule BridgeWeb.Serializer.V2 do
  @moduledoc "Version 2.0.0: arrays of five, and binary pushes."

  @behaviour Phoenix.Socket.Serializer

  import BridgeWeb.Serializer, only: [is_head: 4]
  alias BridgeWeb.Serializer
  alias Phoenix.Socket.{Broadcast, Message, Reply}

  # The head as nearly every client writes it; any other way of writing it is read as JSON.
  @ref ~S/(null|"[A-Za-z0-9_.-]{0,64}"|\d{1,15})/
  @name ~S|"([A-Za-z0-9 _.:/@-]{0,400})"|
  @head ~r/\A\[#{@ref},#{@ref},#{@name},#{@name},/

  @impl true
  def fastlane!(%Broadcast{topic: topic, event: event, payload: payload}) do
    encode([nil, nil, topic, event, payload])
  end

  @impl true
  def encode!(%Reply{} = reply) do
    payload = %{status: reply.status, response: Serializer.payload(reply)}
    encode([Serializer.join_ref(reply), reply.ref, reply.topic, "phx_reply", payload])
  end

  def encode!(%Message{} = message) do
    names = [Serializer.name(message.join_ref), Serializer.name(message.ref)]
    encode(names ++ [message.topic, message.event, message.payload])
  end

  defp encode(frame) do
    {:socket_push, :text, Phoenix.json_library().encode_to_iodata!(frame)}
  end

  @impl true
  def decode!(%Message{} = message, _options), do: message

  def decode!(data, options) do
    payload = Serializer.frame("2.0.0", data, options)

    case head(data, options[:opcode]) do
      [join_ref, ref, topic, event] when is_head(join_ref, ref, topic, event) ->
        %Message{join_ref: join_ref, ref: ref, topic: topic, event: event, payload: payload}

      _ ->
        {:unreadable, payload}
    end
  end

  defp head(<<0, a, b, c, d, rest::binary>>, :binary) do
    case rest do
      <<join_ref::binary-size(a), ref::binary-size(b), topic::binary-size(c),
        event::binary-size(d), _payload::binary>> ->
        Enum.all?([join_ref, ref, topic, event], &String.valid?/1) &&
          [text(join_ref), text(ref), topic, event]

      _ ->
        nil
    end
  end

  defp head(_data, :binary), do: nil

  defp head(data, _text) do
    case Regex.run(@head, data, capture: :all_but_first) do
      [join_ref, ref, topic, event] -> [ref(join_ref), ref(ref), topic, event]
      nil -> head_of_json(Phoenix.json_library().decode(data))
    end
  end

  defp head_of_json({:ok, [join_ref, ref, topic, event, _payload]}) do
    [join_ref, ref, topic, event]
  end

  defp head_of_json(_other), do: nil

  defp ref("null"), do: nil
  defp ref("\"" <> _ = quoted), do: binary_part(quoted, 1, byte_size(quoted) - 2)
  defp ref(digits), do: String.to_integer(digits)

  defp text(""), do: nil
  defp text(text), do: text
end
