defmodule Bridge.Link.ScannerTest do
  use ExUnit.Case, async: true

  import Bridge.Test.Node, only: [await: 1, call_map: 0, call_map: 1]

  alias Bridge.Link.{Connection, Messages, Scanner}
  alias Bridge.Test.{Echo, Node, Peer}

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

  test "a socket nobody listens on is left alone, also when its path is too long",
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
    assert Map.keys(links(scanner, 1)) == [Path.join(dir, "alive.sock")]
    assert File.exists?(dead) and File.exists?(long)
  end

  test "a worker that was superseded is left to the newer node", %{node: node, dir: dir} do
    path = Path.join(dir, "a.sock")
    listener = listen_by_hand(path)
    Node.scan(node, dir)
    worker = greet_by_hand(listener)
    :ok = :gen_tcp.send(worker, Messages.cast(:superseded))
    assert {:error, :closed} = :gen_tcp.recv(worker, 0, 20_000)
    # Fifteen scans later.
    assert {:error, :timeout} = :gen_tcp.accept(listener, 300)

    # The same path with another socket is another worker.
    other = listen_by_hand(path <> ".new")
    File.rename!(path <> ".new", path)
    greet_by_hand(other)
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
