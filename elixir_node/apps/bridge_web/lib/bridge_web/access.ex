defmodule BridgeWeb.Access do
  @moduledoc """
  Has a worker judge who may see the pages: by the same token as sockets, in the address (`?token=`),
  the Authorization header, or a session that was opened by one of these. A plug, and `on_mount`.
  """

  import Plug.Conn

  alias BridgeWeb.{Handshake, Workers}
  alias Phoenix.{Component, LiveView}

  @spec init(keyword) :: keyword
  def init(options), do: options

  @spec call(Plug.Conn.t(), keyword) :: Plug.Conn.t()
  def call(conn, _options) do
    [here, before] = [Handshake.asked(conn), get_session(conn, :caller)]
    callers = if before, do: [here, %{here | "query" => before["query"]}], else: [here]

    case Enum.find_value(callers, &allowed/1) || Workers.status(here) do
      {:allowed, caller} -> put_session(conn, :caller, caller)
      {:refused, status, error} -> conn |> send_resp(status, error["message"]) |> halt()
      {:error, error} -> conn |> send_resp(503, error["message"]) |> halt()
    end
  end

  @doc "Give a page what its calls are judged by."
  def on_mount(:default, _params, %{"caller" => caller}, socket) do
    {:cont, Component.assign(socket, :caller, caller)}
  end

  def on_mount(:default, _params, _session, socket) do
    {:halt, LiveView.redirect(socket, to: "/")}
  end

  defp allowed(caller), do: if(match?({:ok, _}, Workers.status(caller)), do: {:allowed, caller})
end
