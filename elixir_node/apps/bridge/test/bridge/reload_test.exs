defmodule Bridge.ReloadTest do
  # One module is compiled by one test at a time.
  use ExUnit.Case, async: false

  import Bridge.Test.Node, only: [call_map: 1]

  alias Bridge.{Implementations, Keys}
  alias Bridge.Implementations.{Reload, Served}

  @deadline_ms 20_000
  @moduletag :tmp_dir

  setup %{tmp_dir: dir, test: test} do
    path = Path.join(dir, "mine.ex")
    {:ok, module} = Implementations.compile(path, text("1"))
    on_exit(fn -> for gone <- [:purge, :delete, :purge], do: apply(:code, gone, [module]) end)
    mine = %Implementations{module: module, digest: "d", build: "first"}
    keys = Keys.new(Module.concat(__MODULE__, "T#{:erlang.phash2(test)}"), %{"echo" => mine})
    start_supervised!(%{id: keys, start: {Keys, :start_link, [keys]}, type: :supervisor})
    %{keys: keys, path: path, kept: Path.join(dir, "kept.ex")}
  end

  # Answers its number, after it was let go if it is to wait, by code of now or of its start.
  defp text(number) do
    """
    defmodule Bridge.ReloadTest.Mine do
      @behaviour Bridge.Implementation
      @impl true
      def handle(state, "number", _, _), do: {:ok, #{number}, [], state}

      def handle(state, "wait", %{"pid" => pid}, _) do
        send(:erlang.list_to_pid(String.to_charlist(pid)), {:waits, self()})
        {:ok, wait(#{number}), [], state}
      end

      def handle(state, "leave", %{"pid" => pid}, _) do
        pid = :erlang.list_to_pid(String.to_charlist(pid))
        spawn(fn -> wait(send(pid, {:left, self()})) end)
        {:ok, nil, [], state}
      end

      defp wait(number) do
        receive do
          :go -> number
        end
      end
    end
    """
  end

  # As `check/2` does it, in a node of its own, of a text of now.
  defp compiled(path, kept, text) do
    File.write!(kept, text)
    code = "Bridge.Implementations.check(#{inspect(path)}, #{inspect(kept)})"
    ebin = :bridge |> :code.lib_dir() |> Path.join("ebin")
    System.cmd("elixir", ["-pa", ebin, "-e", code], stderr_to_stdout: true)
  end

  defp ask(keys, operation) do
    request = %{"pid" => List.to_string(:erlang.pid_to_list(self()))}
    {:ok, ref} = Keys.dispatch(keys, call_map(%{"operation" => operation, "request" => request}))
    ref
  end

  defp answer(ref) do
    assert_receive {^ref, outcome}, @deadline_ms
    outcome = :erlang.binary_to_term(outcome)
    {outcome["ok"]["reply"], outcome["build"]}
  end

  test "new code answers at once, what waits answers of one build", context do
    %{keys: keys, path: path, kept: kept} = context
    assert answer(ask(keys, "number")) == {1, "first"}
    waits = ask(keys, "wait")
    assert_receive {:waits, run}, @deadline_ms

    assert {"", 0} = compiled(path, kept, text("2"))
    assert {:ok, "first -> " <> build} = Reload.load(keys.served, "echo", path, kept)
    assert build == Implementations.build(path, text("2"))

    # It was computed while the code changed: so it is computed again, of the new code.
    send(run, :go)
    assert_receive {:waits, run}, @deadline_ms
    send(run, :go)
    assert answer(waits) == {2, build}
    assert answer(ask(keys, "number")) == {2, build}
    assert Implementations.builds(Served.all(keys.served)) == %{"echo" => build}
  end

  test "what does not compile is not written, and says where", context do
    assert {said, 1} = compiled(context.path, context.kept, "defmodule Mine do\n  def (\nend")
    assert said =~ "#{context.path}:"

    assert Reload.load(context.keys.served, "echo", context.path, context.kept) ==
             {:error, "no such file or directory"}

    assert answer(ask(context.keys, "number")) == {1, "first"}
  end

  test "who still runs the code before the last is ended, and named", context do
    %{keys: keys, path: path, kept: kept} = context
    # Not from a run, which would take it along.
    request = %{"pid" => List.to_string(:erlang.pid_to_list(self()))}
    apply(Bridge.ReloadTest.Mine, :handle, [nil, "leave", request, nil])
    assert_receive {:left, left}, @deadline_ms
    monitor = Process.monitor(left)

    assert {"", 0} = compiled(path, kept, text("2"))
    assert {:ok, said} = Reload.load(keys.served, "echo", path, kept, 1)
    refute said =~ ";"
    assert {"", 0} = compiled(path, kept, text("3"))
    assert {:ok, said} = Reload.load(keys.served, "echo", path, kept, 1)
    assert said =~ "; ended, as it still ran the code before the last: #{inspect(left)} in Bridge"
    assert_receive {:DOWN, ^monitor, :process, _, :killed}, @deadline_ms
  end

  test "code of another text than is kept is not loaded", context do
    %{keys: keys, path: path, kept: kept} = context
    assert {"", 0} = compiled(path, kept, text("2"))
    File.write!(kept, text("3"))

    assert Reload.load(keys.served, "echo", path, kept) == {:error, "compiled of another text"}

    assert Reload.load(keys.served, "other", path, kept) ==
             {:error, "the node does not serve other"}

    assert answer(ask(keys, "number")) == {1, "first"}
  end
end
