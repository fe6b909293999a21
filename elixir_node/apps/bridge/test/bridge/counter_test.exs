defmodule Bridge.CounterTest do
  # One module is compiled from one file by one test at a time.
  use ExUnit.Case, async: false

  alias Bridge.Keys.Run

  @file_path Path.expand("../../../../../tests/subsystems/counter/counter.ex", __DIR__)
  @initial %{"total" => 0, "log" => [], "pad" => ""}
  @context %{"message_id" => "m", "now_ms" => 1_000}

  setup_all do
    {:ok, module} = Bridge.Implementations.compile(@file_path)
    %{counter: module}
  end

  defp run(module, operation, request, state \\ @initial) do
    Run.outcome(module, %{
      "key" => "k",
      "kind" => "command",
      "operation" => operation,
      "request" => request,
      "state" => state,
      "context" => @context
    })
  end

  test "adding tells everyone and keeps the last hundred tags", %{counter: counter} do
    full = %{@initial | "log" => Enum.map(1..100, &"t#{&1}"), "total" => 5}
    assert %{"ok" => ok} = run(counter, "add", %{"n" => 2, "tag" => "new"}, full)
    assert ok["reply"] == %{"total" => 7}

    assert ok["effects"] == [
             %{
               "effect" => "emit",
               "type" => "counter.added",
               "payload" => %{"n" => 2, "total" => 7, "tag" => "new"}
             }
           ]

    assert ok["state"]["log"] == Enum.map(2..100, &"t#{&1}") ++ ["new"]
    assert %{"ok" => ok} = run(counter, "once", %{"token" => "t", "n" => 3})
    assert ok["state"] == %{@initial | "total" => 3}
  end

  test "a pad is counted in code points", %{counter: counter} do
    assert %{"ok" => %{"reply" => %{"bytes" => 3}}} = run(counter, "put", %{"pad" => "é😀x"})
  end

  test "events are marked unordered only when asked", %{counter: counter} do
    assert %{"ok" => ok} = run(counter, "notify", %{"count" => 2, "unordered" => false})
    assert Enum.map(ok["effects"], & &1["id"]) == ["m/0", "m/1"]
    refute Enum.any?(ok["effects"], &Map.has_key?(&1, "unordered"))
    assert %{"ok" => ok} = run(counter, "notify", %{"count" => 1, "unordered" => true})
    assert [%{"unordered" => true, "data" => %{"i" => 0}}] = ok["effects"]
  end

  test "later and forget set and cancel one timer", %{counter: counter} do
    assert %{"ok" => ok} = run(counter, "later", %{"after_ms" => 5, "n" => 1})
    assert [%{"at_ms" => 1_005, "id" => "later", "operation" => "add_later"}] = ok["effects"]
    assert %{"ok" => ok} = run(counter, "forget", %{})
    assert ok["effects"] == [%{"effect" => "cancel", "id" => "later"}]
  end

  test "it refuses and crashes as it is told", %{counter: counter} do
    assert %{"refused" => %{"reason" => "no"}} = run(counter, "fail", %{"how" => "refuse"})
    assert %{"fault" => %{"kind" => "crashed"}} = run(counter, "fail", %{"how" => "crash"})
  end
end
