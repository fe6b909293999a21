# The BEAM's end of `bridge bench link`: PYTHON ECHO_FOLDER TURNS TURN_MS CALLERS...
#
# Prints `rate subject callers calls-per-second` for each turn, subjects taking turns. ErlPort is one
# of them if its beams are on the path.

defmodule LinkBench do
  alias Bridge.Link.{Connection, Transports}

  @value %{
    "subsystem" => "heartbeat",
    "key" => "front-desk",
    "operation" => "tick",
    "message_id" => "0b5f7d1c-8d5e-4f43-9a64-0f1f1f5b7c11",
    "now_ms" => 1_763_852_400_123,
    "ok" => true,
    "text" => "ten and two"
  }

  def main([python, folder, turns, turn_ms | callers]) do
    subjects = [{"bridge", bridge(python)} | erlport(python, folder)]
    turn_ms = String.to_integer(turn_ms)

    for callers <- Enum.map(callers, &String.to_integer/1) do
      for {_, call} <- subjects, do: rate(call, callers, turn_ms)

      for _ <- Enum.to_list(1..String.to_integer(turns)), {name, call} <- subjects do
        IO.puts("rate #{name} #{callers} #{Float.round(rate(call, callers, turn_ms), 1)}")
      end
    end
  end

  defp bridge(python) do
    {:ok, link} =
      Connection.start_link(
        name: "bench",
        owner: self(),
        identity: %{"protocol" => 1, "node" => "bench", "pid" => 0, "started_ms" => 0},
        keys: nil,
        max_frame_bytes: 4_194_304,
        max_in_flight: 1024,
        transport:
          {Transports.Port,
           executable: python,
           args: ["-u", "-m", "bridge.bench.link_peer", "--packet=4", "--nouse_stdio"]}
      )

    receive do
      {:link_up, ^link, _} -> :ok
    after
      10_000 -> raise "the Python end did not answer hello"
    end

    fn ->
      {:ok, @value} = Connection.call(link, :echo, [@value], 5_000)
    end
  end

  defp erlport(python, folder) do
    if Code.ensure_loaded?(:python) do
      options = [python: String.to_charlist(python), python_path: String.to_charlist(folder)]
      {:ok, pid} = apply(:python, :start_link, [options])
      [{"erlport", fn -> apply(:python, :call, [pid, :bridge_bench_echo, :echo, [@value]]) end}]
    else
      []
    end
  end

  defp rate(call, callers, turn_ms) do
    started = now_us()
    until = started + turn_ms * 1000
    tasks = for _ <- Enum.to_list(1..callers), do: Task.async(fn -> repeat(call, until, 0) end)
    count = tasks |> Task.await_many(60_000) |> Enum.sum()
    count * 1_000_000 / (now_us() - started)
  end

  defp repeat(call, until, count) do
    call.()
    if now_us() < until, do: repeat(call, until, count + 1), else: count + 1
  end

  defp now_us, do: System.monotonic_time(:microsecond)
end

LinkBench.main(System.argv())
System.halt(0)
