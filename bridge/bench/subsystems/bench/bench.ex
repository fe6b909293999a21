defmodule Bench do
  @moduledoc "What `bridge bench edges` asks of Elixir."

  @behaviour Bridge.Implementation

  @impl true
  def handle(state, "read", _request, _context), do: {:ok, %{"n" => state["n"]}, [], state}

  def handle(state, "burst", %{"events" => events}, _context) do
    count = %{"n" => state["n"] + 1}
    emit = %{"effect" => "emit", "type" => "bench.written", "payload" => count}
    {:ok, count, List.duplicate(emit, events), Map.merge(state, count)}
  end
end
