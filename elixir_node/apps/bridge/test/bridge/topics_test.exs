defmodule Bridge.TopicsTest do
  use ExUnit.Case, async: false

  alias Bridge.Topics

  # A worker's link registers itself, for as long as it lives.
  defp up(worker) do
    test = self()

    {:ok, pid} =
      Task.start(fn ->
        :ok = Topics.worker_up(worker)
        send(test, :up)
        Process.sleep(:infinity)
      end)

    assert_receive :up
    on_exit(fn -> Process.exit(pid, :kill) end)
    pid
  end

  defp down(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}
    # The registry unregisters whoever ended when it hears of it.
    wait(fn -> pid not in for({_, link} <- Topics.workers(), do: link) end)
  end

  defp wait(condition), do: condition.() || wait(condition)

  @topics for n <- 1..50, do: "counter:#{n}"

  test "a topic stays at its worker, whoever else comes or goes" do
    [one, two] = [up("one"), up("two")]
    before = Map.new(@topics, &{&1, Topics.worker_of(&1)})
    assert before |> Map.values() |> Enum.uniq() |> Enum.sort() == Enum.sort([one, two])

    three = up("three")
    for topic <- @topics, do: assert(Topics.worker_of(topic) in [before[topic], three])
    down(three)
    for topic <- @topics, do: assert(Topics.worker_of(topic) == before[topic])

    down(one)
    for topic <- @topics, do: assert(Topics.worker_of(topic) == two)
  end

  test "a worker is passed over where there is another one" do
    [one, two] = [up("one"), up("two")]
    for topic <- @topics, do: assert(Topics.worker_of(topic, [one]) == two)
    down(two)
    assert Topics.worker_of("counter:a", [one]) == one
    down(one)
    assert Topics.worker_of("counter:a") == nil
  end

  test "what is told of a topic goes to the process registered for it" do
    assert Topics.tell("counter:nobody", [0, "event"]) == :ok
    {:ok, _} = Registry.register(Topics.Registry, "counter:mine", nil)
    assert Topics.whereis("counter:mine") == self()
    :ok = Topics.tell("counter:mine", [0, "event"])
    me = self()
    assert_receive {:told, ^me, [0, "event"]}
  end
end
