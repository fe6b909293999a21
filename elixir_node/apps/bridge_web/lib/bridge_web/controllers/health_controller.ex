defmodule BridgeWeb.HealthController do
  use BridgeWeb, :controller

  @doc "Say whether workers are there to judge what clients send. It needs no token."
  def show(conn, _params) do
    case Bridge.Topics.workers() do
      [] ->
        conn
        |> put_status(503)
        |> json(%{status: "runtime_unavailable", message: "no worker is there", workers: []})

      some ->
        json(conn, %{status: "ok", workers: some |> Enum.map(&elem(&1, 0)) |> Enum.sort()})
    end
  end
end
