defmodule BridgeWeb.Handshake do
  @moduledoc """
  Has a worker judge who may open a socket: token, origin, host, version. A plug.

  What it says is passed on, status and error, as the Python edge answers.
  """

  import Plug.Conn

  alias BridgeWeb.Workers

  @headers ~w(host origin authorization)

  @doc "Let other requests pass; halt a handshake that is refused."
  @spec check(Plug.Conn.t()) :: Plug.Conn.t()
  def check(%{path_info: ["socket", "websocket"]} = conn) do
    case upgrade?(conn) && Workers.connect(asked(conn)) do
      :ok -> conn
      {:refused, status, error} -> answer(conn, status, error)
      false -> answer(put_resp_header(conn, "upgrade", "websocket"), 426, incomplete())
    end
  end

  def check(conn), do: conn

  @doc false
  def refuse(conn, _reason), do: send_resp(conn, 403, "")

  @doc "Return what a worker judges a request by."
  @spec asked(Plug.Conn.t()) :: map
  def asked(conn) do
    %{
      "headers" =>
        for({name, value} <- conn.req_headers, name in @headers, do: [name, text(value)]),
      "query" => text(conn.query_string),
      "subprotocols" => conn |> get_req_header("sec-websocket-protocol") |> Enum.flat_map(&list/1)
    }
  end

  defp upgrade?(conn) do
    conn |> get_req_header("upgrade") |> Enum.any?(&(String.downcase(&1) == "websocket"))
  end

  defp list(value), do: value |> text() |> String.split(",") |> Enum.map(&String.trim/1)

  # Header values are bytes; a link carries text.
  defp text(bytes), do: :unicode.characters_to_binary(bytes, :latin1)

  defp answer(conn, status, error) do
    conn
    |> put_resp_content_type("application/json")
    |> send_resp(status, Phoenix.json_library().encode_to_iodata!(error))
    |> halt()
  end

  defp incomplete do
    %{
      code: "invalid_request",
      message: "a WebSocket is here, and this request asks for none",
      retryable: false,
      detail: %{missing: ["Upgrade"]}
    }
  end
end
