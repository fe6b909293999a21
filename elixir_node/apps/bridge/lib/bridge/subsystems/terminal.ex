defmodule Bridge.Subsystems.Terminal do
  @moduledoc """
  The terminal's relay: prompts go to a session, what the session says becomes events.
  """

  @behaviour Bridge.Implementation

  alias Bridge.Determinism

  @reserved ~w(gateway main)

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
    case Determinism.trim(text) do
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
