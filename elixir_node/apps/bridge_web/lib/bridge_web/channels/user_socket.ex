defmodule BridgeWeb.UserSocket do
  @moduledoc "A client's socket. Who may open one was judged by a worker, in `BridgeWeb.Handshake`."

  use Phoenix.Socket,
    # The worker's setting is the limit: BRIDGE_MAX_TOPICS.
    max_channels_per_transport: 1_000_000,
    log: false

  channel "*", BridgeWeb.TopicChannel

  @impl true
  def connect(_params, socket, _connect_info) do
    {:ok, assign(socket, :topics, :counters.new(1, []))}
  end

  @impl true
  def id(_socket), do: nil
end
