defmodule Bridge.ImplementationsTest do
  # One module is compiled from one file by one test at a time.
  use ExUnit.Case, async: false

  alias Bridge.{Generated, Implementations}

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

    assert Implementations.load(%{"yours" => path}, %{"yours" => "abc"})["yours"] ==
             %Implementations{
               module: Bridge.ImplementationsTest.Yours,
               digest: "abc",
               build: build(path)
             }
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

    loaded =
      Implementations.load(%{"counter" => gone}, %{"counter" => "abc"}, %{"counter" => kept})

    assert %{module: module, build: build} = loaded["counter"]
    assert to_string(module.module_info(:compile)[:source]) == gone
    assert Implementations.builds(loaded) == %{"counter" => build}
    assert build == build(kept, "gone.ex")
  end

  test "the built-in ones have the digests of their contracts" do
    digests =
      Map.new(Generated.Contracts.all(), fn {name, %{digest: digest}} -> {name, digest} end)

    assert Implementations.digests(Implementations.load(%{}, %{})) == digests
  end

  test "a file replaces a built-in implementation" do
    loaded = Implementations.load(%{"heartbeat" => @counter}, %{"heartbeat" => "abc"})
    assert %Implementations{module: Counter, digest: "abc"} = loaded["heartbeat"]
  end

  @tag :tmp_dir
  test "what does not load, and what has no digest, is left out", %{tmp_dir: dir} do
    broken = write(dir, "defmodule Broken do")
    without = write(dir, "defmodule Bridge.ImplementationsTest.Without do\nend")

    files = %{
      "broken" => broken,
      "without" => without,
      "absent" => Path.join(dir, "absent.ex"),
      "undigested" => @counter,
      "counter" => @counter
    }

    digests = Map.new(Map.keys(files) -- ["undigested"], &{&1, "abc"})

    loaded = Implementations.load(files, digests)
    assert Map.keys(loaded) -- Map.keys(Implementations.load(%{}, %{})) == ["counter"]

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

  defp write(dir, source) do
    path = Path.join(dir, "#{System.unique_integer([:positive])}.ex")
    File.write!(path, source)
    path
  end
end
