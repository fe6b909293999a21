defmodule Bridge.ImplementationsTest do
  # One module is compiled from one file by one test at a time.
  use ExUnit.Case, async: false

  alias Bridge.Implementations
  alias Bridge.Test.Contracts

  @counter Path.expand("../../../../../tests/subsystems/counter/counter.ex", __DIR__)

  @tag :tmp_dir
  test "one module of a file is the implementation", %{tmp_dir: dir} do
    path =
      write(dir, """
      defmodule Bridge.ImplementationsTest.Beside do
      end

      defmodule Bridge.ImplementationsTest.Yours do
        @behaviour Bridge.Implementation
        @impl true
        def handle(state, _operation, _request, _context), do: {:ok, nil, [], state}
      end
      """)

    # Of the bytes as they lie there: this is no canonical JSON, and not even a contract.
    contract = write(Path.join(dir, "yours"), "{ }\n", "subsystem.json")

    expected = %Implementations{
      module: Bridge.ImplementationsTest.Yours,
      digest: Contracts.sha256(contract),
      build: build(path)
    }

    for folder <- [dir, Path.join(dir, "yours")] do
      assert Implementations.load(%{"yours" => path}, ["/absent", folder]) == %{
               "yours" => expected
             }
    end
  end

  # As `bridge.contracts.builds` has it.
  defp build(path, name \\ nil) do
    whole = (name || Path.basename(path)) <> " " <> sha256(File.read!(path))
    whole |> sha256() |> binary_part(0, 12)
  end

  defp sha256(text), do: Base.encode16(:crypto.hash(:sha256, text), case: :lower)

  @tag :tmp_dir
  test "what was kept of a file runs, whatever became of it", %{tmp_dir: dir} do
    kept =
      write(dir, """
      defmodule Bridge.ImplementationsTest.Kept do
        @behaviour Bridge.Implementation
        @impl true
        def handle(state, _operation, _request, _context), do: {:ok, nil, [], state}
      end
      """)

    gone = Path.join(dir, "gone.ex")

    files = %{"counter" => gone}
    loaded = Implementations.load(files, [Contracts.of_tests("counter")], %{"counter" => kept})

    assert %{module: module, build: build} = loaded["counter"]
    assert to_string(module.module_info(:compile)[:source]) == gone
    assert Implementations.builds(loaded) == %{"counter" => build}
    assert build == build(kept, "gone.ex")
  end

  test "the built-in ones have the digests of their contracts" do
    digests =
      for name <- ~w(heartbeat sessions terminal triage), into: %{} do
        {name, Contracts.sha256(Path.join(Contracts.built_in(name), "subsystem.json"))}
      end

    assert Implementations.digests(Implementations.load(%{}, Contracts.folders())) == digests
    assert Implementations.load(%{}, []) == %{}
  end

  test "a file replaces a built-in implementation" do
    loaded = Implementations.load(%{"heartbeat" => @counter}, Contracts.folders())
    assert %Implementations{module: Counter} = loaded["heartbeat"]
  end

  @tag :tmp_dir
  test "what does not load, and what has no contract, is left out", %{tmp_dir: dir} do
    broken = write(dir, "defmodule Broken do")
    without = write(dir, "defmodule Bridge.ImplementationsTest.Without do\nend")

    files = %{
      "broken" => broken,
      "without" => without,
      "absent" => Path.join(dir, "absent.ex"),
      "unknown" => @counter,
      "counter" => @counter
    }

    for name <- Map.keys(files) -- ["unknown", "counter"],
        do: write(Path.join(dir, name), "{}", "subsystem.json")

    loaded = Implementations.load(files, [dir, Contracts.of_tests("counter")])
    assert Map.keys(loaded) == ["counter"]

    assert {:error, "expected one module with @behaviour Bridge.Implementation, got 0"} =
             Implementations.compile(without)

    assert {:error, text} = Implementations.compile(broken)
    assert text =~ "missing terminator: end"
  end

  @tag :tmp_dir
  test "a module whose name is taken is refused, its own file may come again", %{tmp_dir: dir} do
    one = """
    defmodule Bridge.ImplementationsTest.Twice do
      @behaviour Bridge.Implementation
      @impl true
      def handle(state, _operation, _request, _context), do: {:ok, nil, [], state}
    end
    """

    first = write(dir, one)
    assert {:ok, module} = Implementations.compile(first)
    assert {:ok, ^module} = Implementations.compile(first)

    assert Implementations.compile(write(dir, one)) ==
             {:error,
              "Bridge.ImplementationsTest.Twice is there already, from #{first}: rename it"}

    assert {:error, "String is there already, from " <> _} =
             Implementations.compile(write(dir, "defmodule String do\nend"))
  end

  defp write(dir, source, name \\ "#{System.unique_integer([:positive])}.ex") do
    File.mkdir_p!(dir)
    path = Path.join(dir, name)
    File.write!(path, source)
    path
  end
end
