defmodule Bridge.ApplicationTest do
  use ExUnit.Case, async: true

  import Bridge.Test.Node, only: [await: 1, call_map: 1]

  alias Bridge.Test.{Contracts, OsNode, Peer}

  @counter Path.expand("../../../../../tests/subsystems/counter/counter.ex", __DIR__)

  setup do
    %{listener: Peer.listen()}
  end

  test "the node serves, and on SIGTERM its workers leave before it", %{listener: listener} do
    node =
      OsNode.start(
        OsNode.environment(listener, 2, %{
          "BRIDGE_ELIXIR_IMPLEMENTATIONS" => "counter=#{@counter}",
          "BRIDGE_CONTRACTS" => Enum.join(Contracts.folders(), ":")
        })
      )

    [a, b] = for _ <- 1..2, do: Peer.accept(listener)
    assert %{"protocol" => 1, "pid" => pid, "started_ms" => started_ms} = a.hello
    digest = Contracts.sha256(Path.join(Contracts.of_tests("counter"), "subsystem.json"))
    assert %{"counter" => ^digest, "heartbeat" => <<_::binary-64>>} = a.hello["digests"]
    assert pid == node.os_pid
    assert_in_delta started_ms, System.os_time(:millisecond), 60_000

    request = %{"n" => 2, "tag" => ""}
    call = %{"subsystem" => "counter", "operation" => "add", "digest" => digest}
    state = %{"total" => 1, "log" => [], "pad" => ""}

    assert %{"ok" => %{"reply" => %{"total" => 3}}} =
             Peer.handle(b, call_map(Map.merge(call, %{"request" => request, "state" => state})))

    Peer.signal(node.os_pid, "TERM")
    assert {0, log} = OsNode.await_end(node)
    for peer <- [a, b], do: assert(await(fn -> not OsNode.alive?(peer.os_pid) end))
    assert log =~ "node info up, serves counter, heartbeat, sessions, terminal, triage\n"
    assert log =~ "node info worker 1: worker peer-"
    refute log =~ "killed"
  end

  test "the end of standard input stops the node", %{listener: listener} do
    node = OsNode.start(OsNode.environment(listener, 1, %{"BRIDGE_PARENT_STDIN" => "1"}))
    peer = Peer.accept(listener)
    # A port's process reads end of file when its port closes; so does the node's child, here.
    Port.command(node.port, "a line\n")
    assert {:r, _, :pong} = Peer.call(peer, :ping, [])
    Port.close(node.port)
    Peer.await_end(peer)
    assert await(fn -> not OsNode.alive?(node.os_pid) end)
    assert await(fn -> not OsNode.alive?(peer.os_pid) end)
  end

  test "SIGINT opens no menu and stops nothing", %{listener: listener} do
    node = OsNode.start(OsNode.environment(listener, 1))
    peer = Peer.accept(listener)
    Peer.signal(node.os_pid, "INT")
    assert {:r, _, :pong} = Peer.call(peer, :ping, [])
    Peer.signal(node.os_pid, "TERM")
    assert {0, log} = OsNode.await_end(node)
    refute log =~ "BREAK"
  end

  test "a worker of a killed node reads the end of its link", %{listener: listener} do
    node = OsNode.start(OsNode.environment(listener, 1))
    peer = Peer.accept(listener)
    Peer.signal(node.os_pid, "KILL")
    Peer.await_end(peer)
    assert {137, _log} = OsNode.await_end(node)
  end

  test "a node that was stopped and continued keeps its workers", %{listener: listener} do
    node = OsNode.start(OsNode.environment(listener, 1))
    peer = Peer.accept(listener)
    Peer.signal(node.os_pid, "STOP")
    Peer.signal(node.os_pid, "CONT")
    assert {:r, _, :pong} = Peer.call(peer, :ping, [])
    assert OsNode.alive?(peer.os_pid)
    Peer.signal(node.os_pid, "TERM")
    assert {0, log} = OsNode.await_end(node)
    refute log =~ "killed"
  end

  test "a bad setting stops the start with its name", %{listener: listener} do
    node = OsNode.start(OsNode.environment(listener, 1, %{"BRIDGE_NODE_WORKERS" => "many"}))
    assert {1, log} = OsNode.await_end(node)

    assert log =~
             ~s(node error BRIDGE_NODE_WORKERS: expected a whole number of at least 0, got "many")
  end
end
