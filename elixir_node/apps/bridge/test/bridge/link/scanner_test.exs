defmodule Bridge.Link.ScannerTest do
  use ExUnit.Case, async: true

  import Bridge.Test.Node, only: [await: 1, call_map: 0, call_map: 1]

  alias Bridge.Link.{Connection, Messages, Scanner}
  alias Bridge.Test.{Echo, Node, OsNode, Peer}
  alias Bridge.Workers

  setup context do
    # Short: a socket's path has about 107 bytes.
    dir = Path.join("/tmp", "bridge-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.mkdir!(dir)
    on_exit(fn -> File.rm_rf!(dir) end)

    name = Module.concat(__MODULE__, "T#{:erlang.phash2(context.test)}")
    options = Map.get(context, :node, [])
    %{dir: dir, node: Node.start(name, %{"echo" => Echo}, options)}
  end

  defp listen(%{node: node, dir: dir}, name, flags \\ []) do
    Peer.start_listening(node.python, node.listener, Path.join(dir, name <> ".sock"), flags)
  end

  defp listen_by_hand(path) do
    options = [:binary, packet: 4, active: false, ifaddr: {:local, path}]
    {:ok, listener} = :gen_tcp.listen(0, options)
    listener
  end

  defp greet_by_hand(listener) do
    {:ok, worker} = :gen_tcp.accept(listener, 20_000)
    {:ok, hello} = :gen_tcp.recv(worker, 0, 20_000)
    assert {:ok, {:call, id, :bridge, :hello, [_]}} = Messages.decode(hello, 10_000)
    answer = %{"protocol" => 1, "worker" => "by hand", "pid" => 1, "orphan" => false}
    :ok = :gen_tcp.send(worker, Messages.result(id, answer))
    worker
  end

  defp links(scanner, count) do
    await(fn ->
      links = Scanner.links(scanner)
      if map_size(links) == count, do: links
    end)
  end

  test "a worker is found by its socket and served over it", %{node: node, dir: dir} = context do
    scanner = Node.scan(node, dir)
    listen(context, "a")
    peer = Peer.accept(node.listener)
    assert %{"ok" => _} = Peer.handle(peer, call_map())
    assert [link] = Map.values(links(scanner, 1))
    assert Connection.call(link, :ping, [], 5_000) == {:ok, :pong}
    calls = for n <- 1..50, do: call_map(%{"key" => "k#{n}"})
    assert {:flooded, _us, 20_000} = Peer.tell(peer, {:flood, 20_000, 500, calls})
  end

  test "a deadline holds while the worker is stopped, and so does closing the link",
       %{node: node, dir: dir} = context do
    scanner = Node.scan(node, dir)
    listen(context, "a")
    peer = Peer.accept(node.listener)
    [link] = Map.values(links(scanner, 1))
    Peer.signal(peer.os_pid, "STOP")
    big = :binary.copy("x", 900_000)
    asked = for _ <- 1..20, do: Task.async(fn -> Connection.call(link, :ping, [big], 500) end)
    {time_us, answers} = :timer.tc(fn -> Task.await_many(asked) end)
    assert Enum.uniq(answers) == [{:error, :deadline}]
    assert time_us < 2_000_000
    {time_us, :ok} = :timer.tc(fn -> DynamicSupervisor.terminate_child(node.links, link) end)
    assert time_us < 1_000_000
    Peer.signal(peer.os_pid, "CONT")
    Peer.await_end(peer)
  end

  test "the socket of a dead worker is removed; what is no socket is left alone",
       %{node: node, dir: dir} = context do
    dead = Path.join(dir, "dead.sock")
    {:ok, socket} = :gen_tcp.listen(0, ifaddr: {:local, dead})
    :gen_tcp.close(socket)
    long = Path.join(dir, String.duplicate("x", 120) <> ".sock")
    File.write!(long, "")
    scanner = Node.scan(node, dir)
    listen(context, "alive")
    peer = Peer.accept(node.listener)
    assert %{"ok" => _} = Peer.handle(peer, call_map())
    assert await(fn -> not File.exists?(dead) end)
    assert Map.keys(links(scanner, 1)) == [Path.join(dir, "alive.sock")]
    assert File.exists?(long)
  end

  test "another socket at the path of a dead one is another worker", %{node: node, dir: dir} do
    path = Path.join(dir, "a.sock")
    :gen_tcp.close(listen_by_hand(path))
    Node.scan(node, dir)
    assert await(fn -> not File.exists?(path) end)
    other = listen_by_hand(path <> ".new")
    File.rename!(path <> ".new", path)
    greet_by_hand(other)
  end

  defp orphans(context, count) do
    for n <- 1..count, do: listen(context, "orphan#{n}", ["--orphan"])
    assert await(fn -> length(Path.wildcard(context.dir <> "/*.sock")) == count end)
    Node.scan(context.node, context.dir)
    for _ <- 1..count, do: Peer.accept(context.node.listener)
  end

  defp slots(node), do: :sys.get_state(node.workers).running

  @tag node: [workers: 2, adopts?: true]
  test "orphans are adopted with their clients, and nobody is started", context do
    %{node: node} = context
    peers = orphans(context, 2)
    assert await(fn -> Workers.ready?(node.workers) end)
    for peer <- peers, do: assert(%{"ok" => _} = Peer.handle(peer, call_map()))
    for peer <- peers, do: assert(Peer.tell(peer, {:heard}) == ["hello"])
    assert map_size(slots(node)) == 2

    # One that dies is replaced by a worker of the node's own.
    Peer.signal(hd(peers).os_pid, "KILL")
    own = Peer.accept(node.listener)
    assert %{"ok" => _} = Peer.handle(own, call_map())
    assert await(fn -> Workers.ready?(node.workers) end)
  end

  @tag node: [workers: 2, adopts?: true]
  test "what is missing beside adopted orphans is started", context do
    %{node: node} = context
    [orphan] = orphans(context, 1)
    own = Peer.accept(node.listener)
    assert await(fn -> Workers.ready?(node.workers) end)
    for peer <- [orphan, own], do: assert(%{"ok" => _} = Peer.handle(peer, call_map()))
  end

  @tag node: [workers: 1, adopts?: true]
  test "more orphans than there are to be workers are sent away", context do
    %{node: node} = context
    peers = orphans(context, 4)
    left = fn -> Enum.count(peers, &(not OsNode.alive?(&1.os_pid))) end
    assert await(fn -> left.() == 3 end)
    assert Workers.ready?(node.workers)
    [stays] = Enum.filter(peers, &OsNode.alive?(&1.os_pid))
    assert %{"ok" => _} = Peer.handle(stays, call_map())
    assert Peer.tell(stays, {:heard}) == ["hello"]
  end

  @tag node: [workers: 1, adopts?: true, connection: [pong_ms: 1_000]]
  test "an adopted orphan that hangs is killed and replaced", context do
    [orphan] = orphans(context, 1)
    assert await(fn -> Workers.ready?(context.node.workers) end)
    Peer.signal(orphan.os_pid, "STOP")
    own = Peer.accept(context.node.listener)
    assert await(fn -> not OsNode.alive?(orphan.os_pid) end)
    assert %{"ok" => _} = Peer.handle(own, call_map())
  end

  @tag node: [connection: [pong_ms: 1_000]]
  test "a worker of somebody else that hangs is left to that one", context do
    scanner = Node.scan(context.node, context.dir)
    listen(context, "a")
    peer = Peer.accept(context.node.listener)
    assert links(scanner, 1)
    Peer.signal(peer.os_pid, "STOP")
    assert links(scanner, 0)
    assert OsNode.alive?(peer.os_pid)
    Peer.signal(peer.os_pid, "KILL")
  end

  @tag node: [workers: 1]
  test "orphans are sent away once the node's own workers have said hello",
       %{node: node, dir: dir} = context do
    own = Peer.accept(node.listener)
    Node.scan(node, dir)
    listen(context, "orphan", ["--orphan"])
    orphan = Peer.accept(node.listener)
    Peer.await_end(orphan)
    listen(context, "independent")
    independent = Peer.accept(node.listener)
    assert %{"ok" => _} = Peer.handle(independent, call_map())
    assert Peer.tell(independent, {:heard}) == ["hello"]
    assert %{"ok" => _} = Peer.handle(own, call_map())
  end

  test "a node without workers of its own keeps orphans", %{node: node, dir: dir} = context do
    scanner = Node.scan(node, dir)
    listen(context, "orphan", ["--orphan"])
    peer = Peer.accept(node.listener)
    links(scanner, 1)
    # A scan that would drain it has passed when another worker was found.
    listen(context, "later")
    Peer.accept(node.listener)
    links(scanner, 2)
    assert Peer.tell(peer, {:heard}) == ["hello"]
  end
end
