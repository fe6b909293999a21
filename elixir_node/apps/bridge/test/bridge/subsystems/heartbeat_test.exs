defmodule Bridge.Subsystems.HeartbeatTest do
  use ExUnit.Case, async: true

  alias Bridge.Generated.Contracts
  alias Bridge.Keys.Run
  alias Bridge.Subsystems.Heartbeat

  # Written by `make generate` from contracts/subsystems/heartbeat/scenarios.json.
  @vectors "../../vectors/heartbeat.etf"
           |> Path.expand(__DIR__)
           |> File.read!()
           |> :erlang.binary_to_term()

  for scenario <- @vectors["scenarios"] do
    @scenario scenario
    test scenario["name"] do
      for {step, n} <- Enum.with_index(@scenario["steps"]) do
        call = Map.put(step, "key", @scenario["key"])
        assert {n, answer(Run.outcome(Heartbeat, call), step)} == {n, step["expect"]}
      end
    end
  end

  test "the scenarios are of the contract the node says hello with" do
    assert Contracts.all()["heartbeat"].digest == @vectors["digest"]
  end

  defp answer(%{"ok" => ok}, %{"kind" => "query"}) do
    assert ok["effects"] == []
    Map.take(ok, ["reply"])
  end

  defp answer(%{"ok" => ok}, _command), do: ok
  defp answer(%{"refused" => %{"reason" => reason}}, _step), do: %{"refused" => reason}
end
