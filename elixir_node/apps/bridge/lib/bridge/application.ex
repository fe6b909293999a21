defmodule Bridge.Application do
  @moduledoc """
  The node: the only place that constructs things.

  Without settings in the environment it starts no worker and connects to none.
  """

  use Application

  alias Bridge.{Activities, Alive, Implementations, Keys, Parent, Settings, Telemetry}
  alias Bridge.{Topics, Workers}
  alias Bridge.Implementations.{Reload, Served}
  alias Bridge.Link.{Connection, Messages, Scanner, Session, Transports}

  @doc """
  Start the node and serve until it is told to stop.

  On SIGTERM this node alone goes: what supervises it (`BRIDGE_LISTENER`) keeps its workers. At
  the end of its standard input the workers go too, and before it. `applications` are those to
  start: the web part names itself behind this one.
  """
  @spec main([atom]) :: no_return
  def main(applications \\ [:bridge]) do
    :ok = Telemetry.attach()

    case Settings.parse(System.get_env()) do
      {:ok, _settings} ->
        [:ok | _] = Enum.map(applications, &start_permanent/1)
        Process.sleep(:infinity)

      {:error, text} ->
        Telemetry.emit(:not_started, %{reason: text})
        Telemetry.flush()
        System.halt(1)
    end
  end

  # The node serves without its web part if only that cannot start: its port is taken, say.
  defp start_permanent(application) do
    case Application.ensure_all_started(application, :permanent) do
      {:ok, _} -> :ok
      {:error, reason} -> Telemetry.emit(:not_started, %{reason: inspect(reason, limit: 20)})
    end
  end

  @impl true
  def start(_type, _args) do
    case Settings.parse(System.get_env()) do
      {:ok, settings} -> serve(settings)
      {:error, text} -> {:error, {:bad_settings, text}}
    end
  end

  defp serve(settings) do
    implementations =
      Implementations.load(settings.implementations, settings.contracts, settings.sources)

    activities = Activities.new(Activities, Activities.load(settings.activities))

    # Loaded before a peer can name its atoms: binary_to_term runs with :safe.
    _ = Messages.known()

    children = children(settings, implementations, activities)

    with {:ok, pid} <- Supervisor.start_link(children, strategy: :one_for_one) do
      Telemetry.emit(:started, %{subsystems: Enum.sort(Map.keys(implementations))})
      {:ok, pid}
    end
  end

  defp children(settings, implementations, activities) do
    keys = Keys.new(Keys, implementations)
    identity = identity(activities)

    connection = [
      identity: fn -> identified(identity, keys) end,
      keys: keys,
      activities: activities,
      max_frame_bytes: settings.link_max_frame_bytes,
      max_in_flight: settings.link_in_flight
    ]

    workers = [
      name: Workers,
      adopts?: settings.link_dir != "",
      leaves_them?: settings.listener != "",
      count: settings.workers,
      links: Bridge.Links,
      connection: [transport: {Transports.Port, port(settings)}, guards?: true] ++ connection,
      drain_ms: settings.drain_ms
    ]

    scanner = [
      dir: settings.link_dir,
      links: Bridge.Links,
      workers: Workers,
      connection: connection
    ]

    alive = [
      name: Alive,
      path: settings.listener,
      file: settings.alive_file,
      node: identity["node"],
      workers: Workers,
      reload: &reload(settings, keys, &1)
    ]

    # Stopped from the last to the first: workers need the links and keys to leave in order.
    [
      %{id: Keys, start: {Keys, :start_link, [keys]}, type: :supervisor},
      %{
        id: Activities,
        start: {Activities, :start_link, [activities]},
        type: :supervisor
      },
      Topics,
      {DynamicSupervisor, name: Bridge.Links, strategy: :one_for_one},
      {Workers, workers}
    ] ++
      if(settings.link_dir == "", do: [], else: [{Scanner, scanner}]) ++
      if(settings.listener <> settings.alive_file == "", do: [], else: [{Alive, alive}]) ++
      if(settings.parent_stdin, do: [{Parent, &stop_all/0}], else: [])
  end

  defp stop_all do
    :ok = Workers.take_along(Workers)
    System.stop()
  end

  # As they are when a link opens: they may have changed since the start.
  defp identified(identity, keys) do
    now = Served.all(keys.served)
    builds = Implementations.builds(now)
    Map.merge(identity, %{"digests" => Implementations.digests(now), "builds" => builds})
  end

  defp reload(settings, keys, subsystem) do
    with %{^subsystem => path} <- settings.implementations,
         %{^subsystem => source} <- settings.sources,
         {:ok, said} <- Reload.load(keys.served, subsystem, path, source) do
      builds = Implementations.builds(Served.all(keys.served))

      for {_, link, _, _} <- DynamicSupervisor.which_children(Bridge.Links),
          do: Connection.tell(link, :builds, [builds])

      Telemetry.emit(:reloaded, %{subsystem: subsystem, text: said})
      {:ok, said}
    else
      %{} -> {:error, "#{subsystem} was not among the node's files at its start"}
      {:error, reason} -> {:error, reason}
    end
  end

  defp identity(activities) do
    {pid, ""} = Integer.parse(System.pid())
    started_ms = System.os_time(:millisecond)

    %{
      "protocol" => Session.protocol(),
      "node" => "node-#{pid}-#{started_ms}",
      "pid" => pid,
      "started_ms" => started_ms,
      "activities" => Enum.sort(Map.keys(activities.modules))
    }
  end

  defp port(settings) do
    # The node's own variables are taken away: the gateway refuses settings it does not know.
    env = for name <- Settings.own_variables(), do: {name, nil}
    [executable: settings.python, args: settings.worker_args, env: env]
  end
end
