defmodule Bridge.Test.Node do
  @moduledoc """
  The parts of a node, put together for one test under its own names.
  """

  import ExUnit.Callbacks

  alias Bridge.{Implementations, Keys, Workers}
  alias Bridge.Link.{Scanner, Transports}
  alias Bridge.Test.Peer

  @doc "A subsystem of a test: its module under its name, with the digest `d`."
  def implementations(modules) do
    Map.new(modules, fn {name, module} ->
      {name, %Implementations{module: module, digest: "d"}}
    end)
  end

  @doc "Start keys, links and `workers:` port workers; returns their names and options."
  def start(name, modules, options \\ []) do
    keys = Keys.new(name, implementations(modules), Keyword.get(options, :limits, []))
    links = Module.concat(name, Links)
    workers = Module.concat(name, Workers)
    listener = Peer.listen()
    python = Peer.python()

    connection = [
      identity: %{"protocol" => 1, "node" => "test", "digests" => %{"echo" => "d"}},
      keys: keys,
      max_frame_bytes: 1_048_576,
      max_in_flight: 1_024
    ]

    connection = Keyword.merge(connection, Keyword.get(options, :connection, []))
    env = Enum.to_list(Peer.environment(listener, Keyword.get(options, :env, %{})))

    port = [
      executable: python,
      args: ["-u", "-m", "bridge.gateway", "--packet=4", "--nouse_stdio"],
      env: env
    ]

    start_supervised!(%{id: keys, start: {Keys, :start_link, [keys]}, type: :supervisor})
    start_supervised!({DynamicSupervisor, name: links, strategy: :one_for_one})

    start_supervised!(
      {Workers,
       name: workers,
       count: Keyword.get(options, :workers, 0),
       links: links,
       connection: [transport: {Transports.Port, port}, guards?: true] ++ connection,
       adopts?: Keyword.get(options, :adopts?, false),
       leaves_them?: Keyword.get(options, :leaves_them?, false),
       drain_ms: Keyword.get(options, :drain_ms, 3_000)}
    )

    %{
      keys: keys,
      links: links,
      workers: workers,
      listener: listener,
      python: python,
      connection: connection
    }
  end

  @doc "Start looking for sockets in `dir`."
  def scan(node, dir) do
    start_supervised!(
      {Scanner,
       dir: dir,
       links: node.links,
       workers: node.workers,
       connection: node.connection,
       interval_ms: 20,
       again_ms: 20}
    )
  end

  @doc "Wait until `function` returns neither false nor nil, and return that."
  def await(function, deadline_ms \\ System.monotonic_time(:millisecond) + 20_000) do
    cond do
      value = function.() -> value
      System.monotonic_time(:millisecond) > deadline_ms -> raise "waited 20 s for nothing"
      true -> Process.sleep(5) && await(function, deadline_ms)
    end
  end

  @doc "Return a `handle` call with these members changed."
  def call_map(changes \\ %{}) do
    Map.merge(
      %{
        "subsystem" => "echo",
        "key" => "k",
        "operation" => "echo",
        "kind" => "command",
        "request" => %{},
        "state" => %{},
        "context" => %{"message_id" => "m", "now_ms" => 1, "seed" => "s"},
        "digest" => "d",
        "timeout_ms" => 5_000
      },
      changes
    )
  end
end
