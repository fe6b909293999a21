defmodule Bridge.Parent do
  @moduledoc """
  Stops the node, workers and all, when its standard input ends: whoever supervised it is gone,
  or ends everything.
  """

  use Task, restart: :temporary

  alias Bridge.Telemetry

  @spec start_link(function) :: {:ok, pid}
  def start_link(stop), do: Task.start_link(fn -> watch(stop) end)

  defp watch(stop) do
    case IO.read(:stdio, :line) do
      text when is_binary(text) ->
        watch(stop)

      _eof_or_error ->
        Telemetry.emit(:stopping, %{reason: "standard input ended"})
        stop.()
    end
  end
end
