defmodule Bridge.Subsystems.Triage do
  @moduledoc """
  Decides what becomes of each event of a session: a prompt, a part of a digest, or nothing.
  """

  @behaviour Bridge.Implementation

  @window_ms 1_800_000
  @max_seen 1000
  @flush_after_ms 3_600_000
  @max_members 100
  @max_size 131_072
  @max_levels 32

  @impl true
  def handle(state, "receive", %{"event" => event}, %{"now_ms" => now_ms}) do
    seen = within_window(state["seen"], now_ms)

    if event["id"] in seen["ids"] do
      {:ok, %{"decision" => "duplicate", "rule" => "seen"}, [], state}
    else
      {decision, rule} = decide(state, event)

      with {:ok, effects, state} <- carry_out(decision, state, event, now_ms) do
        state = %{state | "seen" => with_id(seen, event["id"], now_ms)}
        {:ok, %{"decision" => decision, "rule" => rule}, effects, state}
      end
    end
  end

  def handle(state, "configure", request, _context) do
    rules = Map.take(request, ["suppressed", "batched"])
    {:ok, rules, [], %{state | "rules" => rules}}
  end

  def handle(state, "sleep", _request, _context) do
    {:ok, %{"mode" => "asleep"}, [], %{state | "mode" => "asleep"}}
  end

  def handle(state, "wake", _request, _context) do
    {:ok, effects, after_flush} = flush(state)
    {:ok, %{"mode" => "awake", "count" => count(state)}, effects, awake(after_flush)}
  end

  def handle(state, "flush", _request, _context) do
    {:ok, effects, after_flush} = flush(state)
    {:ok, %{"count" => count(state)}, effects, after_flush}
  end

  def handle(%{"mode" => mode, "batch" => batch} = state, "pending", _request, _context) do
    reply = %{
      "mode" => mode,
      "count" => count(state),
      "size" => batch["size"],
      "by_type" => by_type(batch["members"]),
      "since_ms" => batch["since_ms"]
    }

    {:ok, reply, [], state}
  end

  # The first that matches decides.
  defp decide(%{"mode" => mode, "rules" => rules}, %{"type" => type, "payload" => payload}) do
    cond do
      type == "gateway/sleep" -> {"sleep", "mode"}
      type == "gateway/wake" -> {"wake", "mode"}
      mode == "asleep" -> {decide_asleep(type), "asleep"}
      urgent?(payload) -> {"immediate", "urgent"}
      type in rules["suppressed"] -> {"suppressed", "suppressed"}
      type in rules["batched"] -> {"batched", "batched"}
      true -> {"immediate", "otherwise"}
    end
  end

  defp decide_asleep("cron.heartbeat"), do: "suppressed"
  defp decide_asleep("telegram.message.received"), do: "immediate"
  defp decide_asleep(_type), do: "batched"

  defp urgent?(%{"level" => "fatal"}), do: true
  defp urgent?(%{"immediateTelegram" => true}), do: true
  defp urgent?(%{"priority" => priority}), do: priority in ["high", "urgent"]
  defp urgent?(_payload), do: false

  defp carry_out("sleep", state, _event, _now_ms), do: {:ok, [], %{state | "mode" => "asleep"}}

  defp carry_out("wake", state, _event, _now_ms) do
    {:ok, effects, state} = flush(state)
    {:ok, effects, awake(state)}
  end

  defp carry_out("suppressed", state, _event, _now_ms), do: {:ok, [], state}

  # What is kept or handed on has to be storable.
  defp carry_out(decision, state, event, now_ms) do
    cond do
      levels(event) > @max_levels ->
        {:error, "too_deep", "the event nests more than #{@max_levels} levels"}

      # Asleep, only what wakes.
      decision == "immediate" ->
        {:ok, [prompt(event)], awake(state)}

      decision == "batched" ->
        add(state, state["batch"], event, now_ms)
    end
  end

  # Flushes a batch that is full, sets the timer of a new one.
  defp add(state, batch, event, now_ms) do
    first? = batch["members"] == []
    members = batch["members"] ++ [event]
    size = batch["size"] + size(event)
    since_ms = if first?, do: now_ms, else: batch["since_ms"]
    batch = %{"since_ms" => since_ms, "size" => size, "members" => members}
    state = %{state | "batch" => batch}

    cond do
      length(members) >= @max_members or size >= @max_size -> flush(state)
      first? -> {:ok, [flush_at(now_ms + @flush_after_ms)], state}
      true -> {:ok, [], state}
    end
  end

  defp flush(%{"batch" => %{"members" => []}} = state), do: {:ok, [], state}

  defp flush(%{"batch" => %{"members" => members}} = state) do
    digest = %{
      "count" => length(members),
      "by_type" => by_type(members),
      "members" => members
    }

    effects = [emit("triage.digest", digest), %{"effect" => "cancel", "id" => "flush"}]
    {:ok, effects, %{state | "batch" => %{"since_ms" => nil, "size" => 0, "members" => []}}}
  end

  defp prompt(%{"id" => id, "payload" => payload} = event) do
    prompt =
      %{"event_ids" => [id], "events" => [event]}
      |> put_text("prompt", payload["prompt"])
      |> put_text("origin_session", payload["originSession"])

    emit(if(escalates?(event), do: "triage.escalation", else: "triage.prompt"), prompt)
  end

  defp put_text(prompt, name, value) do
    if text = text(value), do: Map.put(prompt, name, text), else: prompt
  end

  defp escalates?(%{"type" => "system.fatal"}), do: true
  defp escalates?(%{"payload" => payload}), do: urgent?(payload)

  # A member as it is if it is a text that is not blank in ASCII.
  defp text(value), do: if(is_binary(value) and value =~ ~r/[^\t-\r ]/, do: value)

  defp awake(state), do: %{state | "mode" => "awake"}
  defp count(%{"batch" => %{"members" => members}}), do: length(members)
  defp by_type(members), do: Enum.frequencies_by(members, & &1["type"])

  # The oldest ids that are older than the window are left out; a key's time never goes back.
  defp within_window(%{"ids" => ids, "at_ms" => at_ms}, now_ms) do
    old = Enum.find_index(at_ms, &(now_ms - &1 <= @window_ms)) || length(at_ms)
    %{"ids" => Enum.drop(ids, old), "at_ms" => Enum.drop(at_ms, old)}
  end

  defp with_id(%{"ids" => ids, "at_ms" => at_ms}, id, now_ms) do
    %{
      "ids" => Enum.take(ids ++ [id], -@max_seen),
      "at_ms" => Enum.take(at_ms ++ [now_ms], -@max_seen)
    }
  end

  defp levels(value) when is_map(value), do: value |> Map.values() |> levels()

  defp levels(values) when is_list(values) do
    1 + Enum.reduce(values, 0, &max(levels(&1), &2))
  end

  defp levels(_scalar), do: 0

  # 8 for every value, and the UTF-8 bytes of texts and members' names besides.
  defp size(value) when is_binary(value), do: 8 + byte_size(value)
  defp size(value) when is_list(value), do: Enum.reduce(value, 8, &(size(&1) + &2))

  defp size(value) when is_map(value) do
    Enum.reduce(value, 8, fn {name, member}, sum -> sum + byte_size(name) + size(member) end)
  end

  defp size(_scalar), do: 8

  defp emit(type, payload), do: %{"effect" => "emit", "type" => type, "payload" => payload}

  defp flush_at(at_ms) do
    %{
      "effect" => "schedule",
      "id" => "flush",
      "at_ms" => at_ms,
      "operation" => "flush",
      "request" => %{}
    }
  end
end
