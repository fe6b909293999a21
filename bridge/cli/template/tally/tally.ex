defmodule Subsystem.Tally do
  @moduledoc """
  Adds numbers up to ten. A handler is a function: no I/O, no clock; its context has the time.
  """

  @behaviour Bridge.Implementation

  @impl true
  def handle(%{"total" => total}, "add", %{"n" => n}, _context) when total + n > 10 do
    {:error, "full", "ten at most"}
  end

  def handle(%{"total" => total}, "add", %{"n" => n}, _context) do
    state = %{"total" => total + n}
    payload = %{"n" => n, "total" => total + n}
    {:ok, state, [%{"effect" => "emit", "type" => "tally.added", "payload" => payload}], state}
  end

  # Of a query only the reply counts.
  def handle(state, "total", _request, _context), do: {:ok, state, [], state}
end
