defmodule Subsystem.Ledger do
  @moduledoc "Minor units of a currency."

  @behaviour Bridge.Implementation

  @impl true
  def handle(state, "total", _request, _context), do: {:ok, state, [], state}

  def handle(state, "later", %{"n" => n, "at_ms" => at_ms}, _context) do
    later = %{"effect" => "schedule", "id" => "later", "operation" => "add", "at_ms" => at_ms}
    {:ok, %{}, [Map.put(later, "request", %{"n" => n})], state}
  end

  def handle(state, "add", %{"n" => n}, _context) do
    state = %{state | "minor" => state["minor"] + 100 * n}
    {:ok, state, [%{"effect" => "emit", "type" => "ledger.added", "payload" => state}], state}
  end

  @impl true
  def migrate(%{"total" => total}, _from_version, _context) when total != 13 do
    {:ok, %{"minor" => 100 * total, "currency" => "EUR"}}
  end
end
