defmodule Bridge.Test.Echo do
  @moduledoc """
  An implementation for tests: it answers what it is asked for, in every good and bad way.
  """

  @behaviour Bridge.Implementation

  @impl true
  def handle(state, "echo", request, _context), do: {:ok, request, [], state}
  def handle(state, "context", _request, context), do: {:ok, context, [], state}
  def handle(_state, "refuse", _request, _context), do: {:error, "no", "told to"}

  def handle(_state, "refuse_in_pieces", _request, _context),
    do: {:error, "no", "a" <> <<0xF0, 0xFF>> <> "b", %{"n" => 1}}

  def handle(_state, "crash", _request, _context), do: raise("told to")
  def handle(_state, "exit", _request, _context), do: exit(:told_to)
  def handle(_state, "throw", _request, _context), do: throw(:told_to)
  def handle(_state, "die", _request, _context), do: Process.exit(self(), :kill)

  # Ends the process of its own key, as if that were idle.
  def handle(_state, "stop", _request, _context) do
    {:links, [key]} = Process.info(self(), :links)
    GenServer.stop(key)
  end

  def handle(state, "loop", request, context), do: handle(state, "loop", request, context)
  def handle(_state, "nonsense", _request, _context), do: :nonsense
  def handle(state, "atom", _request, _context), do: {:ok, %{"a" => [:sent]}, [], state}
  def handle(state, "effects", _request, _context), do: {:ok, nil, [%{"a/b" => {1}}], state}
  def handle(state, "bytes", _request, _context), do: {:ok, <<255>>, [], state}
  def handle(_state, "heap", _request, _context), do: heap([])
  def handle(_state, "binaries", _request, _context), do: binaries([])

  def handle(state, "large", %{"bytes" => bytes}, _context) do
    {:ok, String.duplicate("x", bytes), [], state}
  end

  # Says so and waits to be let go, to hold its key.
  def handle(state, "hold", %{"name" => name}, _context) do
    send(String.to_existing_atom(name), {:held, self()})

    receive do
      :go -> {:ok, "went", [], state}
    end
  end

  # Starts processes and a port, and tells of them; ends then, or never.
  def handle(state, "start", %{"name" => name, "then" => then}, context) do
    told = String.to_existing_atom(name)

    starter = fn ->
      port = Port.open({:spawn_executable, "/bin/cat"}, [])
      child = spawn(fn -> Process.sleep(:infinity) end)
      send(told, {:started, self(), child, port})
      Process.sleep(:infinity)
    end

    spawn(starter)
    receive(do: (:go -> :ok))
    if then == "hang", do: handle(state, "loop", nil, context), else: {:ok, nil, [], state}
  end

  def handle(_state, "start_hoarder", _request, _context) do
    spawn(fn -> heap([]) end)
    Process.sleep(:infinity)
  end

  def handle(_state, "start_many", _request, _context), do: many()

  def handle(_state, "flood", _request, _context) do
    {:links, [key]} = Process.info(self(), :links)
    flood(key)
  end

  defp many do
    spawn(fn -> Process.sleep(:infinity) end)
    many()
  end

  defp flood(key) do
    send(key, :flood)
    flood(key)
  end

  defp heap(list), do: heap([make_ref() | list])
  defp binaries(list), do: binaries([:binary.copy("x", 1_000_000) | list])
end
