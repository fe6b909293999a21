defmodule Bridge.ActivitiesTest do
  use ExUnit.Case, async: true

  alias Bridge.Activities

  @deadline_ms 20_000

  defmodule Does do
    @behaviour Bridge.Activities

    @impl true
    def perform(activity, request, call) do
      send(:erlang.binary_to_term(Base.decode64!(request["to"])), {:runs, self(), call})

      case activity do
        "echo" -> with :ok <- call.log.("echoed"), do: {:ok, %{"attempt" => call.attempt}}
        "raise" -> raise "no"
        "fail" -> {:error, "no"}
        "never" -> {:error, :not_retryable, "no use", %{"why" => 1}}
        "odd" -> :ok
        "pid" -> {:ok, self()}
        "hang" -> Process.sleep(:infinity)
        "exit" -> exit(:kill)
      end
    end
  end

  setup context do
    name = Module.concat(__MODULE__, "T#{:erlang.phash2(context.test)}")
    activities = Activities.new(name, %{"asker" => Does})
    start = {Activities, :start_link, [activities]}
    start_supervised!(%{id: activities, start: start, type: :supervisor})
    %{activities: activities}
  end

  defp begin(activities, activity, changes \\ %{}) do
    call = %{
      "subsystem" => "asker",
      "key" => "k",
      "operation" => activity,
      "kind" => "activity",
      "request" => %{"to" => Base.encode64(:erlang.term_to_binary(self()))},
      "context" => Map.merge(%{"id" => "m/0", "attempt" => 2, "heartbeat_ms" => 0}, changes),
      "timeout_ms" => Map.get(changes, "timeout_ms", @deadline_ms)
    }

    {Activities.dispatch(activities, call), call}
  end

  defp answer({{:ok, ref}, _call}) do
    assert_receive {^ref, answer}, @deadline_ms
    :erlang.binary_to_term(answer)
  end

  defp runs do
    assert_receive {:runs, pid, call}, @deadline_ms
    {pid, call}
  end

  defp ends(pid) do
    ref = Process.monitor(pid)
    assert_receive {:DOWN, ^ref, :process, ^pid, _}, @deadline_ms
  end

  defp failed(message, retryable \\ true, detail \\ %{}) do
    %{"failed" => %{"message" => message, "retryable" => retryable, "detail" => detail}}
  end

  test "a function is told id, attempt and key, and its reply is the answer", %{activities: all} do
    assert answer(begin(all, "echo")) == %{"ok" => %{"reply" => %{"attempt" => 2}}}
    assert {_pid, %{idempotency_key: "m/0", attempt: 2, key: "k"}} = runs()
  end

  test "what it says or raises is a failure that may pass, or not", %{activities: all} do
    assert answer(begin(all, "fail")) == failed("no")
    assert answer(begin(all, "raise")) == failed("** (RuntimeError) no")
    assert answer(begin(all, "never")) == failed("no use", false, %{"why" => 1})

    assert answer(begin(all, "odd")) ==
             failed("expected {:ok, reply} or {:error, [:not_retryable,] message}", false)

    assert %{"failed" => %{"retryable" => false, "message" => "reply: " <> _}} =
             answer(begin(all, "pid"))

    assert %{"failed" => %{"retryable" => true}} = answer(begin(all, "exit"))
  end

  test "at the end of its time it is killed", %{activities: all} do
    asked = begin(all, "hang", %{"timeout_ms" => 1})
    {pid, _} = runs()
    assert answer(asked) == failed("no answer within 1 ms")
    ends(pid)
  end

  test "without a heartbeat it is killed", %{activities: all} do
    asked = begin(all, "hang", %{"heartbeat_ms" => 1})
    {pid, _} = runs()
    assert answer(asked) == failed("no heartbeat for 1 ms")
    ends(pid)
  end

  test "cancelled it is killed and nobody is answered", %{activities: all} do
    {{:ok, ref}, call} = begin(all, "hang")
    {pid, _} = runs()
    assert {:error, %{"ok" => _}} = Activities.dispatch(all, %{call | "kind" => "cancel"})
    ends(pid)
    assert_receive {:DOWN, ^ref, :process, _, :shutdown}, @deadline_ms
  end

  test "it ends with who asked", %{activities: all} do
    test = self()

    caller =
      spawn(fn ->
        begin(all, "hang")
        receive do: ({:runs, pid, _} -> send(test, {:runs, pid, nil}))
        Process.sleep(:infinity)
      end)

    {pid, _} = runs()
    Process.exit(caller, :kill)
    ends(pid)
  end

  test "nothing of a subsystem that has none is begun", %{activities: all} do
    call = %{"subsystem" => "none", "kind" => "activity"}
    assert {:error, %{"fault" => %{"kind" => kind}}} = Activities.dispatch(all, call)
    assert kind == "unknown_subsystem"
  end

  @tag :tmp_dir
  test "files are compiled, one that has none is left out", %{tmp_dir: folder} do
    good = Path.join(folder, "good.ex")
    bad = Path.join(folder, "bad.ex")

    File.write!(good, """
    defmodule Bridge.ActivitiesTest.Good do
      @behaviour Bridge.Activities
      def perform(_, _, _), do: {:ok, nil}
    end
    """)

    File.write!(bad, "defmodule Bridge.ActivitiesTest.Bad do\nend\n")
    assert Activities.load(%{"a" => good, "b" => bad}) == %{"a" => Bridge.ActivitiesTest.Good}
  end
end
