defmodule Bridge.Subsystems.Terminal do
  @moduledoc """
  The terminal's relay: prompts go to a session, what the session says becomes events.
  """

  @behaviour Bridge.Implementation

  @reserved ~w(gateway main)

  defguardp is_white_space(byte) when byte == ?\s or byte in ?\t..?\r

  @impl true
  def handle(_state, "configure", %{"session" => session}, _context) do
    if reserved?(session) do
      {:error, "reserved_session", "#{session}: its list is others' to read"}
    else
      {:ok, %{"session" => session}, [],
       %{"session" => session, "streaming" => false, "waiting" => 0}}
    end
  end

  def handle(%{"session" => nil}, operation, _request, context)
      when operation in ["prompt", "abort"] do
    how = "push `configure` with a session to topic terminal:#{context["key"]}"
    {:error, "no_session", "prompts have nowhere to go: #{how}"}
  end

  def handle(state, "prompt", %{"text" => text}, context) do
    case trimmed(text) do
      "" ->
        {:error, "empty_prompt", "a prompt needs text"}

      prompt ->
        %{"session" => session, "waiting" => waiting} = state
        reply = %{"status" => "sent", "session" => session}
        {:ok, reply, [push(session, prompt, context)], %{state | "waiting" => waiting + 1}}
    end
  end

  def handle(state, "abort", _request, _context) do
    {:ok, %{"status" => "asked"}, [emit("abort", %{})], state}
  end

  def handle(state, "say", %{"frame" => frame}, _context) do
    {type, payload} = Map.pop!(frame, "type")
    {:ok, %{}, [emit(type, payload)], said(state, type)}
  end

  def handle(state, "status", _request, _context) do
    reply = %{
      "sessionId" => state["session"] || "",
      "isStreaming" => state["streaming"],
      "queueDepth" => state["waiting"]
    }

    {:ok, reply, [], state}
  end

  defp reserved?("pid-" <> _), do: true
  defp reserved?(session), do: session in @reserved

  # Not by a regular expression: those take quadratic time for white space within.
  defp trimmed(<<byte, rest::binary>>) when is_white_space(byte), do: trimmed(rest)
  defp trimmed(text), do: without_trailing(text, byte_size(text) - 1)

  defp without_trailing(text, last) when last >= 0 do
    if is_white_space(:binary.at(text, last)),
      do: without_trailing(text, last - 1),
      else: binary_part(text, 0, last + 1)
  end

  defp without_trailing(_text, _last), do: ""

  defp push(session, prompt, %{"key" => key}) do
    %{
      "effect" => "system_event",
      "session" => session,
      "type" => "terminal.prompt",
      "payload" => %{"prompt" => prompt, "originSession" => "terminal:#{key}"}
    }
  end

  defp emit(type, payload) do
    %{"effect" => "emit", "type" => "terminal.#{type}", "payload" => payload}
  end

  # An error may come at any time; all else is said within a turn.
  defp said(state, "error"), do: state

  defp said(%{"waiting" => waiting} = state, "turn_end") do
    %{state | "streaming" => false, "waiting" => max(waiting - 1, 0)}
  end

  defp said(state, _type), do: %{state | "streaming" => true}
end
