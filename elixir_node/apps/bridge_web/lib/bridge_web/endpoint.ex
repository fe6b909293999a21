defmodule BridgeWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :bridge_web

  @session_options [
    store: :cookie,
    key: "_bridge_key",
    signing_salt: "bridge",
    encryption_salt: "pages",
    same_site: "Lax"
  ]

  # Whether a socket may open is judged by a worker, before (see `call/2`): check_origin is not
  # asked. Close codes and limits are those of docs/protocol.md.
  socket "/socket", BridgeWeb.SocketTransport,
    websocket: [
      serializer: [
        {BridgeWeb.Serializer.V1, "~> 1.0.0"},
        {BridgeWeb.Serializer.V2, "~> 2.0.0"}
      ],
      check_origin: false,
      subprotocols: ["phoenix"],
      # `BridgeWeb.SocketTransport` keeps the time: BRIDGE_IDLE_TIMEOUT_MS.
      timeout: :infinity,
      error_handler: {BridgeWeb.Handshake, :refuse, []},
      connect_info: []
    ],
    longpoll: false

  socket "/live", Phoenix.LiveView.Socket,
    websocket: [connect_info: [session: @session_options]],
    longpoll: false

  # LiveView's own scripts as its packages have them: nothing is built for these pages.
  plug Plug.Static,
    at: "/assets/phoenix",
    from: {:phoenix, "priv/static"},
    only: ~w(phoenix.min.js)

  plug Plug.Static,
    at: "/assets/live_view",
    from: {:phoenix_live_view, "priv/static"},
    only: ~w(phoenix_live_view.min.js)

  plug Plug.Static, at: "/", from: :bridge_web, only: BridgeWeb.static_paths()

  plug Plug.RequestId
  plug Plug.Telemetry, event_prefix: [:phoenix, :endpoint]

  plug BridgeWeb.Forward

  plug Plug.Parsers,
    parsers: [:urlencoded, :json],
    pass: ["*/*"],
    json_decoder: Phoenix.json_library()

  plug Plug.Session, @session_options
  plug BridgeWeb.Router

  # Sockets are dispatched before any plug.
  @doc false
  def call(conn, options) do
    case BridgeWeb.Handshake.check(conn) do
      %{halted: true} = refused -> refused
      conn -> super(conn, options)
    end
  end
end
