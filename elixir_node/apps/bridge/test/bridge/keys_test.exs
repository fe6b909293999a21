defmodule Bridge.KeysTest do
  use ExUnit.Case, async: true

  import Bridge.Test.Node, only: [call_map: 1, implementations: 1]

  alias Bridge.Keys

  @deadline_ms 20_000

  setup context do
    name = Module.concat(__MODULE__, "T#{:erlang.phash2(context.test)}")
    limits = Map.get(context, :limits, [])
    keys = Keys.new(name, implementations(%{"echo" => Bridge.Test.Echo}), limits)
    start_supervised!(%{id: keys, start: {Keys, :start_link, [keys]}, type: :supervisor})
    %{keys: keys}
  end

  defp dispatch(keys, changes) do
    {:ok, ref} = Keys.dispatch(keys, call_map(changes))
    ref
  end

  defp await(ref) do
    assert_receive {^ref, outcome}, @deadline_ms
    :erlang.binary_to_term(outcome)
  end

  # As a link does it: a key's process that was idle may end before it has read the call.
  defp run(keys, operation, changes \\ %{}) do
    ref = dispatch(keys, Map.put(changes, "operation", operation))

    receive do
      {^ref, outcome} ->
        :erlang.binary_to_term(outcome)

      {:DOWN, ^ref, _, _, reason} when reason in [:normal, :noproc] ->
        run(keys, operation, changes)
    after
      @deadline_ms -> flunk("no outcome of #{operation}")
    end
  end

  # A run that holds its key until it is sent :go.
  defp hold(keys, changes) do
    name = :"holder #{System.unique_integer([:positive])}"
    Process.register(self(), name)
    request = %{"request" => %{"name" => Atom.to_string(name)}, "operation" => "hold"}
    ref = dispatch(keys, Map.merge(request, changes))
    assert_receive {:held, pid}, @deadline_ms
    Process.unregister(name)
    {ref, pid}
  end

  defp fault(kind, message), do: %{"fault" => %{"kind" => kind, "message" => message}}

  test "a handler's answer is the outcome", %{keys: keys} do
    request = %{"a" => [1, 2.5, nil, "é😀"]}

    assert run(keys, "echo", %{"request" => request, "state" => %{"s" => 1}}) ==
             %{"ok" => %{"reply" => request, "effects" => [], "state" => %{"s" => 1}}}
  end

  test "a query hands back no state", %{keys: keys} do
    assert %{"ok" => %{"state" => nil}} = run(keys, "echo", %{"kind" => "query", "state" => 1})
  end

  test "the context has the key", %{keys: keys} do
    assert %{"ok" => %{"reply" => %{"key" => "mine"}}} = run(keys, "context", %{"key" => "mine"})
  end

  test "a refusal has a reason and a message", %{keys: keys} do
    assert run(keys, "refuse") ==
             %{"refused" => %{"reason" => "no", "message" => "told to", "detail" => %{}}}

    assert run(keys, "refuse_in_pieces") ==
             %{
               "refused" => %{
                 "reason" => "no",
                 "message" => "a\uFFFD\uFFFDb",
                 "detail" => %{"n" => 1}
               }
             }
  end

  test "a subsystem or a contract the node does not have is a fault", %{keys: keys} do
    assert Keys.dispatch(keys, call_map(%{"subsystem" => "other"})) ==
             {:error, fault("unknown_subsystem", "the node does not implement other")}

    assert Keys.dispatch(keys, call_map(%{"digest" => "e"})) ==
             {:error, fault("digest_mismatch", "echo: the node's contract is d, the worker's e")}
  end

  test "raising, exiting and throwing are crashes, with their text and place", %{keys: keys} do
    place = ~r/ in Bridge\.Test\.Echo\.handle\/4 \(echo\.ex:\d+\)$/

    for {operation, text} <- [
          {"crash", "** (RuntimeError) told to"},
          {"exit", "** (exit) :told_to"},
          {"throw", "** (throw) :told_to"}
        ] do
      assert %{"fault" => %{"kind" => "crashed", "message" => message}} = run(keys, operation)
      assert [^text, ""] = Regex.split(place, message)
    end

    assert %{"fault" => %{"kind" => "crashed", "message" => text}} = run(keys, "unheard of")
    assert text =~ "FunctionClauseError"
    assert %{"fault" => %{"kind" => "crashed"}} = run(keys, "die")
  end

  test "an answer that is not an outcome is off the contract", %{keys: keys} do
    assert run(keys, "nonsense") ==
             fault(
               "off_contract",
               "nonsense: expected {:ok, reply, effects, state} or {:error, reason, message[, detail]}"
             )
  end

  test "an answer that is not JSON is not serialisable, and says where", %{keys: keys} do
    kind = "not_serialisable"

    assert run(keys, "atom") ==
             fault(kind, "reply: /a/0: expected a JSON value, got the atom :sent")

    assert run(keys, "effects") ==
             fault(kind, "effects: /0/a~1b: expected a JSON value, got a tuple")

    assert run(keys, "bytes") ==
             fault(kind, "reply: (whole value): expected UTF-8 text, got other bytes")
  end

  test "a handler that loops is killed at its time; other keys do not notice", %{keys: keys} do
    loop = dispatch(keys, %{"operation" => "loop", "key" => "slow", "timeout_ms" => 300})
    assert %{"ok" => _} = run(keys, "echo", %{"key" => "quick"})
    refute_received {^loop, _}
    assert await(loop) == fault("timeout", "loop took longer than 300 ms")
    assert %{"ok" => _} = run(keys, "echo", %{"key" => "slow"})
  end

  @tag limits: [max_memory_bytes: 16_000_000]
  test "a handler that fills its heap is killed", %{keys: keys} do
    assert run(keys, "heap") ==
             fault("crashed", "killed: over 16000000 bytes of memory, or by itself")
  end

  @tag limits: [max_memory_bytes: 64_000_000]
  test "a handler that hoards binaries is killed", %{keys: keys} do
    assert run(keys, "binaries") ==
             fault("crashed", "killed: over 64000000 bytes of binaries")
  end

  # What a handler started, while it is held.
  defp started(keys, changes) do
    name = :"starter #{System.unique_integer([:positive])}"
    Process.register(self(), name)
    request = Map.merge(%{"name" => Atom.to_string(name)}, changes["request"])
    changes = Map.merge(changes, %{"operation" => "start", "request" => request})
    ref = dispatch(keys, changes)
    assert_receive {:started, parent, child, port}, @deadline_ms
    Process.unregister(name)
    [{server, _}] = Registry.lookup(keys.registry, {"echo", "k"})
    %{run: %{pid: run}} = :sys.get_state(server)
    {ref, run, [parent, child], port}
  end

  defp gone(pids, port) do
    for pid <- pids do
      monitor = Process.monitor(pid)
      assert_receive {:DOWN, ^monitor, :process, _, _}, @deadline_ms
    end

    Bridge.Test.Node.await(fn -> Port.info(port) == nil end)
  end

  test "what a handler has started ends with it", %{keys: keys} do
    {ref, run, pids, port} = started(keys, %{"request" => %{"then" => "answer"}})
    send(run, :go)
    assert %{"ok" => _} = await(ref)
    gone(pids, port)

    request = %{"request" => %{"then" => "hang"}, "timeout_ms" => 500}
    {ref, _, pids, port} = started(keys, request)
    assert await(ref) == fault("timeout", "start took longer than 500 ms")
    gone(pids, port)

    {ref, _, pids, port} = started(keys, %{"request" => %{"then" => "hang"}})
    [{server, _}] = Registry.lookup(keys.registry, {"echo", "k"})
    Process.exit(server, :kill)
    assert_receive {:DOWN, ^ref, :process, _, :killed}, @deadline_ms
    gone(pids, port)
  end

  @tag limits: [max_memory_bytes: 16_000_000]
  test "memory counts with what a handler has started", %{keys: keys} do
    assert run(keys, "start_hoarder") ==
             fault("crashed", "killed: over 16000000 bytes of memory, with what it started")
  end

  test "a handler that starts processes without end is killed", %{keys: keys} do
    assert run(keys, "start_many") == fault("crashed", "killed: over 1000 processes")
    assert %{"ok" => _} = run(keys, "echo")
  end

  test "a handler that floods its key delays its deadline by nothing", %{keys: keys} do
    ref = dispatch(keys, %{"operation" => "flood", "timeout_ms" => 300})

    receive do
      {^ref, outcome} ->
        assert %{"fault" => %{"kind" => "timeout"}} = :erlang.binary_to_term(outcome)

      {:DOWN, ^ref, :process, _, :killed} ->
        :ok
    after
      @deadline_ms -> flunk("nobody answered")
    end

    assert %{"ok" => _} = run(keys, "echo")
  end

  @tag limits: [max_keys: 2]
  test "keys that have a process are bounded", %{keys: keys} do
    for key <- ["a", "b"], do: run(keys, "echo", %{"key" => key})
    text = "2 keys have a process, which is the limit"
    assert Keys.dispatch(keys, call_map(%{"key" => "c"})) == {:error, fault("overloaded", text)}
    assert %{"ok" => _} = run(keys, "echo", %{"key" => "a"})
  end

  test "a key's calls run one after the other, in order", %{keys: keys} do
    {first, pid} = hold(keys, %{})
    later = for n <- 1..20, do: {n, dispatch(keys, %{"request" => %{"n" => n}})}
    assert %{"ok" => _} = run(keys, "echo", %{"key" => "another"})
    for {_, ref} <- later, do: refute_received({^ref, _})
    send(pid, :go)
    assert %{"ok" => %{"reply" => "went"}} = await(first)
    for {n, ref} <- later, do: assert(%{"ok" => %{"reply" => %{"n" => ^n}}} = await(ref))
  end

  @tag limits: [max_queue: 2]
  test "calls that wait for a key are bounded", %{keys: keys} do
    {first, pid} = hold(keys, %{})
    [a, b, c] = for _ <- 1..3, do: dispatch(keys, %{})
    assert await(c) == fault("overloaded", "2 calls wait for echo:k, limit is 2")
    send(pid, :go)
    for ref <- [first, a, b], do: assert(%{"ok" => _} = await(ref))
  end

  test "a call that has waited longer than its time is not run", %{keys: keys} do
    {_, pid} = hold(keys, %{"timeout_ms" => 500})
    ref = dispatch(keys, %{"timeout_ms" => 100})
    assert await(ref) == fault("overloaded", "waited 100 ms for echo:k, not run")
    refute Process.alive?(pid)
  end

  @tag limits: [idle_ms: 50]
  test "an idle key's process ends, and the next call starts another", %{keys: keys} do
    assert %{"ok" => _} = run(keys, "echo")
    [{server, _}] = Registry.lookup(keys.registry, {"echo", "k"})
    monitor = Process.monitor(server)
    assert_receive {:DOWN, ^monitor, :process, _, :normal}, @deadline_ms
    assert %{"ok" => _} = run(keys, "echo")
  end

  test "a key's process that is killed takes its run along and tells the caller", %{keys: keys} do
    {ref, pid} = hold(keys, %{})
    run = Process.monitor(pid)
    [{server, _}] = Registry.lookup(keys.registry, {"echo", "k"})
    Process.exit(server, :kill)
    assert_receive {:DOWN, ^ref, :process, _, :killed}, @deadline_ms
    assert_receive {:DOWN, ^run, :process, _, :killed}, @deadline_ms
    assert %{"ok" => _} = run(keys, "echo")
  end

  test "ten keys that crash at once stop no other", %{keys: keys} do
    {held, pid} = hold(keys, %{"key" => "held"})

    for n <- 1..10 do
      assert %{"fault" => _} = run(keys, "die", %{"key" => "bad#{n}"})
      [{server, _}] = Registry.lookup(keys.registry, {"echo", "bad#{n}"})
      Process.exit(server, :kill)
    end

    send(pid, :go)
    assert %{"ok" => _} = await(held)
  end
end
