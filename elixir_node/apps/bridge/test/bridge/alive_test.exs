defmodule Bridge.AliveTest do
  use ExUnit.Case, async: true

  alias Bridge.{Alive, Workers}

  setup do
    path = Path.join("/tmp", "bridge-#{System.pid()}-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm(path) end)
    %{path: path}
  end

  defp start(path) do
    workers = start_supervised!({Workers, count: 0, links: nil, drain_ms: 0, connection: []})

    start_supervised!({Alive, path: path, node: "n", workers: workers, interval_ms: 5})
    workers
  end

  defp listen(path) do
    options = [:binary, packet: :line, active: false, ifaddr: {:local, path}]
    {:ok, listener} = :gen_tcp.listen(0, options)
    listener
  end

  defp accept(listener) do
    {:ok, socket} = :gen_tcp.accept(listener, 20_000)
    socket
  end

  defp line(socket) do
    {:ok, line} = :gen_tcp.recv(socket, 0, 20_000)
    line
  end

  test "a node says who it is, and then that it is there, again and again", %{path: path} do
    # Also when nobody listens yet, and when the one who did has gone.
    start(path)
    listener = listen(path)
    socket = accept(listener)
    assert line(socket) == ~s({"node":"n"}\n)
    for _ <- 1..3, do: assert(line(socket) == ~s({"alive":true}\n))
    :gen_tcp.close(socket)
    assert line(accept(listener)) == ~s({"node":"n"}\n)
  end

  test "a node whose workers process hangs says nothing", %{path: path} do
    listener = listen(path)
    workers = start(path)
    socket = accept(listener)
    :ok = :sys.suspend(workers)
    # What was on the way; then nothing until it goes on.
    drain(socket)
    assert {:error, :timeout} = :gen_tcp.recv(socket, 0, 200)
    :ok = :sys.resume(workers)
    assert line(socket) == ~s({"alive":true}\n)
  end

  test "a node that answers writes its file again and again", %{path: path} do
    workers = start_supervised!({Workers, count: 0, links: nil, drain_ms: 0, connection: []})
    start_supervised!({Alive, file: path, node: "n", workers: workers, interval_ms: 5})
    for _ <- 1..2, do: written(path)
  end

  # Waits until the file is there, and takes it away.
  defp written(path) do
    case File.rm(path) do
      :ok -> :ok
      {:error, :enoent} -> written(path)
    end
  end

  defp drain(socket) do
    case :gen_tcp.recv(socket, 0, 100) do
      {:ok, _} -> drain(socket)
      {:error, :timeout} -> :ok
    end
  end
end
