defmodule BridgeWeb.Serializer do
  @moduledoc """
  Frames of Phoenix Channels, with payloads that stay as they came. Pure.

  Of a frame only the head is read, to know where it goes; the whole is the message's payload,
  `%{"vsn" => ..., "text" => ...}` (or `"base64"`), and read by the worker. What goes out is made of
  JSON that the worker wrote, or of the few maps that Phoenix itself replies with.
  """

  alias Phoenix.Socket.Reply

  @doc "Return the payload of a frame; of what Phoenix itself answers, the bridge's own error."
  @spec payload(Reply.t()) :: term
  def payload(%Reply{status: :error, topic: topic, payload: %{reason: "unmatched topic"}}) do
    %{
      code: "unmatched_topic",
      message: "#{topic} is not joined on this socket: join it first",
      retryable: false,
      detail: %{expected: "a joined topic", actual: topic},
      reason: "unmatched topic"
    }
  end

  def payload(%Reply{status: :error, payload: %{reason: reason}}) do
    %{code: "internal", message: reason, retryable: true, detail: %{}}
  end

  def payload(%Reply{payload: payload}), do: payload

  @doc "Return JSON text as part of a frame."
  @spec json(String.t()) :: Jason.Fragment.t()
  def json(text), do: Jason.Fragment.new(text)

  @doc "Return a payload that is kept as it came."
  @spec frame(String.t(), binary, keyword) :: map
  def frame(vsn, data, options) do
    case options[:opcode] do
      :binary -> %{"vsn" => vsn, "base64" => Base.encode64(data)}
      _text -> %{"vsn" => vsn, "text" => data}
    end
  end

  @doc "Return the name of a join: of one without join_ref its ref."
  @spec name(term) :: term
  def name({:ref, ref}), do: ref
  def name(join_ref), do: join_ref

  @doc "Return the join_ref of a reply: none in the answer to a join that came without."
  @spec join_ref(Reply.t()) :: term
  def join_ref(%Reply{join_ref: {:ref, ref}, ref: ref}), do: nil
  def join_ref(%Reply{join_ref: join_ref}), do: name(join_ref)

  @doc "Say whether these are the head of a frame; if not the worker says what is wrong."
  defguard is_head(join_ref, ref, topic, event)
           when (is_nil(join_ref) or is_binary(join_ref) or is_integer(join_ref)) and
                  (is_nil(ref) or is_binary(ref) or is_integer(ref)) and
                  is_binary(topic) and is_binary(event)
end
