defmodule Bridge.WorkersTest do
  use ExUnit.Case, async: true

  import Bridge.Test.Node, only: [await: 1, call_map: 0, call_map: 1]

  alias Bridge.Link.Connection
  alias Bridge.Test.{Echo, Node, OsNode, Peer}
  alias Bridge.Workers

  @modules %{"echo" => Echo}

  defp name(context), do: Module.concat(__MODULE__, "T#{:erlang.phash2(context.test)}")

  defp start(context, options \\ []) do
    Node.start(name(context), @modules, Keyword.put_new(options, :workers, 1))
  end

  defp link(node), do: await(fn -> List.first(Workers.links(node.workers)) end)

  defp within(ms, function) do
    {time_us, value} = :timer.tc(function)
    assert time_us < ms * 1_000, "took #{div(time_us, 1_000)} ms"
    value
  end

  test "a worker is told hello first, with the node's digests", context do
    node = start(context)
    peer = Peer.accept(node.listener)
    assert %{"protocol" => 1, "node" => "test", "digests" => %{"echo" => "d"}} = peer.hello
    assert ["hello" | _] = Peer.tell(peer, {:heard})
  end

  test "a worker's calls are handled, good and bad, and the node calls back", context do
    node = start(context)
    peer = Peer.accept(node.listener)
    assert %{"ok" => %{"reply" => %{"a" => "é"}}} = handle_echo(peer, %{"a" => "é"})
    assert %{"fault" => %{"kind" => "crashed"}} = Peer.handle(peer, operation("crash"))
    assert %{"fault" => fault} = Peer.handle(peer, call_map(%{"subsystem" => "other"}))
    assert fault["kind"] == "unknown_subsystem"
    assert {:e, _, {:elixir, :unknown_function, _, []}} = Peer.call(peer, :halt, [])
    assert {:r, _, :pong} = Peer.call(peer, :ping, [])
    assert Connection.call(link(node), :ping, [], 5_000) == {:ok, :pong}
  end

  test "an idle key's end is not the call's", context do
    node = start(context, limits: [idle_ms: 1])
    peer = Peer.accept(node.listener)
    for n <- 1..300, do: assert(%{"ok" => _} = handle_echo(peer, %{"n" => n}))
  end

  test "a call whose implementation ends its key is answered, and its slot given back", context do
    node = start(context, connection: [max_in_flight: 2])
    peer = Peer.accept(node.listener)

    for operation <- ~w(stop die exit throw) ++ ~w(stop die exit throw) do
      call = call_map(%{"operation" => operation, "timeout_ms" => 100})
      assert %{"fault" => %{"kind" => "crashed"}} = Peer.handle(peer, call)
    end

    assert :sys.get_state(link(node)).session.handling == 0
    assert %{"ok" => _} = handle_echo(peer, %{})
  end

  test "a flood of calls is answered, each of them", context do
    node = start(context)
    peer = Peer.accept(node.listener)
    calls = for n <- 1..50, do: call_map(%{"key" => "k#{n}", "request" => %{"n" => n}})
    assert {:flooded, _us, 20_000} = Peer.tell(peer, {:flood, 20_000, 500, calls})
    assert Bridge.Keys.count(node.keys) == 50
  end

  test "more calls than a link may have are refused one by one", context do
    node = start(context, connection: [max_in_flight: 10])
    peer = Peer.accept(node.listener)
    slow = call_map(%{"operation" => "loop", "timeout_ms" => 1_000})
    assert {:flooded, _us, 0} = Peer.tell(peer, {:flood, 100, 100, [slow]})
    assert %{"ok" => _} = handle_echo(peer, %{})
  end

  test "a killed worker is started again, with the calls of the new one served", context do
    node = start(context)
    first = Peer.accept(node.listener)
    Peer.signal(first.os_pid, "KILL")
    second = Peer.accept(node.listener)
    assert second.os_pid != first.os_pid
    assert %{"ok" => _} = handle_echo(second, %{})
    assert await(fn -> not OsNode.alive?(first.os_pid) end)
  end

  test "workers are ready once all have said hello", context do
    node = start(context, workers: 2)
    refute Workers.ready?(node.workers)
    first = Peer.accept(node.listener)
    second = Peer.accept(node.listener)
    assert await(fn -> Workers.ready?(node.workers) end)
    Peer.signal(first.os_pid, "KILL")
    Peer.await_end(first)
    assert await(fn -> length(Workers.links(node.workers)) == 1 end)
    assert %{"ok" => _} = handle_echo(second, %{})
  end

  test "a deadline holds while the worker is stopped, and it works on afterwards", context do
    node = start(context)
    peer = Peer.accept(node.listener)
    link = link(node)
    Peer.signal(peer.os_pid, "STOP")
    big = %{"pad" => :binary.copy("x", 500_000)}

    asked = for _ <- 1..20, do: Task.async(fn -> Connection.call(link, :ping, [big], 500) end)

    answers = within(2_000, fn -> Task.await_many(asked) end)
    assert Enum.uniq(answers) == [{:error, :deadline}]
    Peer.signal(peer.os_pid, "CONT")
    assert Connection.call(link, :ping, [], 20_000) == {:ok, :pong}
    assert %{"ok" => _} = handle_echo(peer, %{})
  end

  test "a worker that answers no ping is killed and started again", context do
    node = start(context, connection: [pong_ms: 2_000])
    first = Peer.accept(node.listener)
    Peer.signal(first.os_pid, "STOP")
    second = Peer.accept(node.listener)
    assert await(fn -> not OsNode.alive?(first.os_pid) end)
    assert :ok = Peer.tell(second, {:hush, true})
    third = Peer.accept(node.listener)
    assert await(fn -> not OsNode.alive?(second.os_pid) end)
    assert %{"ok" => _} = handle_echo(third, %{})
  end

  test "a worker that reads nothing is cut off at the limit", context do
    node = start(context, connection: [max_unsent_bytes: 3_000_000])
    first = Peer.accept(node.listener)
    link = link(node)
    Peer.signal(first.os_pid, "STOP")
    big = :binary.copy("x", 1_000_000)
    asked = for _ <- 1..8, do: Task.async(fn -> Connection.call(link, :ping, [big], 60_000) end)
    answers = within(10_000, fn -> Task.await_many(asked, 20_000) end)
    assert Enum.uniq(answers) == [{:error, :closed}]
    Peer.signal(first.os_pid, "CONT")
    assert %{"ok" => _} = handle_echo(Peer.accept(node.listener), %{})
  end

  test "a frame that is too large ends the link at its length", context do
    node = start(context)
    first = Peer.accept(node.listener)
    assert :ok = Peer.tell(first, {:write, <<0x7FFFFFFF::32>>})
    second = Peer.accept(node.listener)
    assert %{"ok" => _} = handle_echo(second, %{})
  end

  test "an undecodable frame fails its call and leaves the link as it is", context do
    node = start(context)
    peer = Peer.accept(node.listener)
    name = "unheard_of_#{System.unique_integer([:positive])}"
    atom = <<119, byte_size(name)>> <> name
    body = <<131, 104, 6, 119, 1, ?C, 97, 77, 119, 6, "bridge">> <> atom <> <<106, 119, 1, ?N>>
    frame = <<byte_size(body)::32>> <> body

    assert {:e, 77, {:elixir, :bad_term, _, []}} = Peer.tell(peer, {:write_and_read, frame})
    assert %{"ok" => _} = handle_echo(peer, %{})
  end

  test "another protocol is refused", context do
    node = start(context, env: %{"PEER_PROTOCOL" => "2"})
    peer = Peer.accept(node.listener)
    Peer.await_end(peer)
    assert Workers.links(node.workers) == []
  end

  test "workers are asked to leave, and waited for", context do
    node = start(context, workers: 2)
    peers = for _ <- 1..2, do: Peer.accept(node.listener)
    assert await(fn -> Workers.ready?(node.workers) end)
    within(3_000, fn -> stop_supervised!(Workers) end)
    for peer <- peers, do: assert(await(fn -> not OsNode.alive?(peer.os_pid) end))
  end

  test "workers that somebody else supervises are left behind, or taken along", context do
    node = start(context, workers: 2, leaves_them?: true, adopts?: true)
    Workers.begin(node.workers)
    peers = for _ <- 1..2, do: Peer.accept(node.listener)
    assert await(fn -> Workers.ready?(node.workers) end)
    assert :ok = Workers.take_along(node.workers)
    within(3_000, fn -> stop_supervised!(Workers) end)
    for peer <- peers, do: assert(await(fn -> not OsNode.alive?(peer.os_pid) end))
  end

  test "without orphans to wait for, workers are started all the same", context do
    node = start(context, adopts?: true)
    assert %{"ok" => _} = handle_echo(Peer.accept(node.listener), %{})
  end

  test "a worker that does not leave is killed in the end", context do
    node = start(context, drain_ms: 0, env: %{"PEER_STAYS" => "1"})
    peer = Peer.accept(node.listener)
    assert await(fn -> Workers.ready?(node.workers) end)
    within(6_000, fn -> stop_supervised!(Workers) end)
    assert await(fn -> not OsNode.alive?(peer.os_pid) end)
  end

  test "an interpreter that is not there is tried again and again", context do
    keys = Bridge.Keys.new(name(context), %{})
    links = Module.concat(name(context), Links)
    start_supervised!({DynamicSupervisor, name: links, strategy: :one_for_one})
    port = {Bridge.Link.Transports.Port, executable: "/nonexistent/python", args: []}

    workers =
      start_supervised!(
        {Workers,
         count: 1,
         links: links,
         drain_ms: 0,
         connection: [
           transport: port,
           identity: %{},
           keys: keys,
           max_frame_bytes: 1_000,
           max_in_flight: 1
         ]}
      )

    assert await(fn -> match?(%{1 => delay} when delay > 100, :sys.get_state(workers).delays) end)
    refute Workers.ready?(workers)
  end

  defp operation(name), do: call_map(%{"operation" => name})
  defp handle_echo(peer, request), do: Peer.handle(peer, Map.put(call_map(), "request", request))
end
