defmodule Bridge.Subsystems.Heartbeat do
  @moduledoc """
  The periodic fan-out: one tick becomes ten Inngest events, not more often than `min_gap_ms`.
  """

  @behaviour Bridge.Implementation

  @early ~w(
    tasks/triage.requested sessions/prune.requested triggers/audit.requested
    system/health.requested memory/review.check vault/sync.check granola/check.requested
    email/triage.requested calendar/daily.check loops/stale.check
  )
  @head List.delete(@early, "granola/check.requested") ++ ["gateway/health.check.requested"]

  @impl true
  def handle(state, "configure", request, context) do
    settings = Map.take(request, ["every_ms", "min_gap_ms", "profile"])
    timer = next_tick(settings, context) || %{"effect" => "cancel", "id" => "tick"}
    {:ok, settings, [timer], Map.merge(state, settings)}
  end

  def handle(state, "tick", _request, context) do
    %{"last_ms" => last_ms} = state
    %{"now_ms" => now_ms} = context
    schedule = List.wrap(next_tick(state, context))

    if last_ms != nil and now_ms - last_ms < state["min_gap_ms"] do
      reply = %{"status" => "skipped", "reason" => "too_soon", "next_ms" => earliest(state)}
      {:ok, reply, schedule, %{state | "skipped" => state["skipped"] + 1}}
    else
      events = events(state["profile"], context)
      reply = %{"status" => "ran", "events" => length(events)}
      state = %{state | "last_ms" => now_ms, "runs" => state["runs"] + 1}
      {:ok, reply, events ++ schedule, state}
    end
  end

  def handle(state, "status", _request, _context) do
    reply =
      state |> Map.take(["last_ms", "runs", "skipped"]) |> Map.put("next_ms", earliest(state))

    {:ok, reply, [], state}
  end

  defp earliest(%{"last_ms" => nil}), do: nil
  defp earliest(%{"last_ms" => last_ms, "min_gap_ms" => min_gap_ms}), do: last_ms + min_gap_ms

  defp next_tick(%{"every_ms" => 0}, _context), do: nil

  defp next_tick(%{"every_ms" => every_ms}, %{"now_ms" => now_ms}) do
    %{
      "effect" => "schedule",
      "id" => "tick",
      "at_ms" => now_ms + every_ms,
      "operation" => "tick",
      "request" => %{}
    }
  end

  defp events(profile, %{"message_id" => message_id}) do
    for name <- names(profile) do
      %{
        "effect" => "inngest",
        "name" => name,
        "data" => data(profile, name),
        "id" => "heartbeat/#{message_id}/#{name}"
      }
    end
  end

  defp names("early"), do: @early
  defp names("head"), do: @head

  defp data("head", "system/health.requested") do
    %{"mode" => "core", "source" => "heartbeat-15m"}
  end

  defp data(_profile, _name), do: %{}
end
