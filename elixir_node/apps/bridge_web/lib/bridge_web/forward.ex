defmodule BridgeWeb.Forward do
  @moduledoc """
  Has a worker answer what is not the node's own: `/admin`, Inngest's calls, unknown paths. A plug.

  At the gateway's address it stands before the worker's edge; what that answers is passed on.
  """

  @behaviour Plug

  import Plug.Conn

  alias BridgeWeb.{Settings, Workers}

  @own ~w(subsystems dashboard live assets health socket)

  @impl true
  def init(options), do: options

  @impl true
  def call(%{path_info: []} = conn, _options), do: conn
  def call(%{path_info: [first | _]} = conn, _options) when first in @own, do: conn

  def call(conn, _options) do
    limit = :persistent_term.get(Settings).max_frame_bytes

    case read_body(conn, length: limit) do
      {:ok, body, conn} -> conn |> pass(Workers.http(request(conn, body))) |> halt()
      {_too_large, _, conn} -> conn |> send_resp(413, "") |> halt()
    end
  end

  defp request(conn, body) do
    %{
      "method" => conn.method,
      "path" => text(conn.request_path),
      "query" => text(conn.query_string),
      "headers" => for({name, value} <- conn.req_headers, do: [name, text(value)]),
      "body" => Base.encode64(body)
    }
  end

  defp pass(conn, {:ok, %{"status" => status, "headers" => headers, "body" => body}}) do
    headers
    |> Enum.reduce(conn, fn [name, value], conn -> put_resp_header(conn, name, value) end)
    |> send_resp(status, Base.decode64!(body))
  end

  defp pass(conn, {:error, error}) do
    conn
    |> put_resp_content_type("application/json")
    |> send_resp(503, Phoenix.json_library().encode_to_iodata!(error))
  end

  # Header values are bytes; a link carries text.
  defp text(bytes), do: :unicode.characters_to_binary(bytes, :latin1)
end
