defmodule Counter do
  @moduledoc """
  A subsystem for tests: it counts, keeps timers, and can fail in every way there is.
  """

  @behaviour Bridge.Implementation

  @max_log 100

  @impl true
  def handle(state, "add", %{"n" => n, "tag" => tag}, _context), do: add(state, n, tag)

  def handle(state, "put", %{"pad" => pad}, _context) do
    {:ok, %{"bytes" => length(String.codepoints(pad))}, [], %{state | "pad" => pad}}
  end

  def handle(state, "once", %{"n" => n}, _context), do: add(state, n, "")

  def handle(state, "fail", %{"how" => how}, _context), do: fail(how, state)

  def handle(state, "later", %{"after_ms" => after_ms, "n" => n}, %{"now_ms" => now_ms}) do
    at_ms = now_ms + after_ms

    timer = %{
      "effect" => "schedule",
      "id" => "later",
      "at_ms" => at_ms,
      "operation" => "add_later",
      "request" => %{"n" => n}
    }

    {:ok, %{"at_ms" => at_ms}, [timer], state}
  end

  def handle(state, "forget", _request, _context) do
    {:ok, %{}, [%{"effect" => "cancel", "id" => "later"}], state}
  end

  def handle(state, "add_later", %{"n" => n}, _context) do
    state = %{state | "total" => state["total"] + n}
    {:ok, %{"total" => state["total"]}, [added(state, n, "later")], state}
  end

  def handle(state, "notify", %{"count" => count, "unordered" => unordered}, context) do
    effects =
      for i <- Enum.take(0..19, count) do
        effect = %{
          "effect" => "inngest",
          "name" => "counter/notified",
          "data" => %{"i" => i},
          "id" => "#{context["message_id"]}/#{i}"
        }

        if unordered, do: Map.put(effect, "unordered", true), else: effect
      end

    {:ok, %{"count" => count}, effects, state}
  end

  def handle(state, "total", _request, _context) do
    {:ok, %{"total" => state["total"], "log_length" => length(state["log"])}, [], state}
  end

  def handle(state, "upload", %{"base64" => base64}, _context) do
    {:ok, %{"bytes" => byte_size(Base.decode64!(base64))}, [], state}
  end

  defp add(state, n, tag) do
    log = if tag == "", do: state["log"], else: Enum.take(state["log"] ++ [tag], -@max_log)
    state = %{state | "total" => state["total"] + n, "log" => log}
    {:ok, %{"total" => state["total"]}, [added(state, n, tag)], state}
  end

  defp added(state, n, tag) do
    payload = %{"n" => n, "total" => state["total"], "tag" => tag}
    %{"effect" => "emit", "type" => "counter.added", "payload" => payload}
  end

  defp fail("refuse", _state), do: {:error, "no", "told to refuse", %{"how" => "refuse"}}
  defp fail("crash", _state), do: raise("told to crash")
  defp fail("loop", state), do: fail("loop", state)
  defp fail("bad_reply", state), do: {:ok, %{"unexpected" => true}, [], state}
  defp fail("bad_effect", state), do: {:ok, %{}, [%{"effect" => "unheard_of"}], state}
  defp fail("bad_state", state), do: {:ok, %{}, [], Map.put(state, "total", "many")}
end
