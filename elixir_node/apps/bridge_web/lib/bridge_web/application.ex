defmodule BridgeWeb.Application do
  @moduledoc "The web part: the only place of it that constructs things."

  use Application

  alias BridgeWeb.{Drainer, Endpoint, Gateway, Pushes, Settings, SharedSocket, Topics}

  @send_ms 10_000
  @acceptors 4

  @impl true
  def start(_type, _args) do
    case Settings.parse(System.get_env()) do
      {:ok, settings} ->
        :persistent_term.put(Settings, settings)
        :ok = Application.put_env(:bridge_web, Endpoint, endpoint(settings))
        options = [strategy: :one_for_one, name: BridgeWeb.Supervisor]
        Supervisor.start_link(children(settings), options)

      {:error, text} ->
        {:error, {:bad_settings, text}}
    end
  end

  # Stopped from the last to the first: clients are sent on while pushes can still be answered.
  defp children(settings) do
    [
      {Phoenix.PubSub, name: BridgeWeb.PubSub},
      {Registry, keys: :duplicate, name: Drainer.Sockets, partitions: System.schedulers_online()},
      Topics,
      {PartitionSupervisor, child_spec: Pushes, name: Pushes.Partitions}
    ] ++ gateway(settings) ++ [Endpoint]
  end

  # The endpoint once more, at the gateway's address. Before the endpoint, whose end sends the
  # clients on: of both.
  defp gateway(%{listen_fd: 0}), do: []

  defp gateway(settings) do
    shared = [
      transport_module: SharedSocket,
      num_acceptors: @acceptors,
      shutdown_timeout: @send_ms
    ]

    [
      {Gateway, settings.listen_fd},
      {Bandit,
       plug: Endpoint,
       startup_log: false,
       thousand_island_options: shared,
       websocket_options: websocket(settings)}
    ]
  end

  defp endpoint(settings) do
    {:ok, ip} = settings.host |> String.to_charlist() |> :inet.getaddr(family(settings.host))

    [
      adapter: Bandit.PhoenixAdapter,
      http: [
        ip: ip,
        port: settings.port,
        websocket_options: websocket(settings),
        # A client that reads nothing is dropped: what waits for it would be kept for ever.
        thousand_island_options: [transport_options: [send_timeout: @send_ms]]
      ],
      server: settings.port > 0,
      pubsub_server: BridgeWeb.PubSub,
      render_errors: [formats: [html: BridgeWeb.ErrorHTML, json: BridgeWeb.ErrorJSON]],
      check_origin: false,
      secret_key_base: secret(64),
      live_view: [signing_salt: secret(16)]
    ]
  end

  defp websocket(settings) do
    [
      max_frame_size: settings.max_frame_bytes,
      max_fragmented_message_size: settings.max_frame_bytes,
      compress: false
    ]
  end

  # Nothing outlives the node that a new key would break: pages sign their sessions again.
  defp secret(bytes), do: bytes |> :crypto.strong_rand_bytes() |> Base.encode64()

  defp family(host), do: if(String.contains?(host, ":"), do: :inet6, else: :inet)
end
