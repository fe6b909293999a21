defmodule Bridge.SubsystemsTest do
  use ExUnit.Case, async: true

  alias Bridge.Implementations
  alias Bridge.Keys.Run

  for {name, %{module: module, digest: digest}} <- Implementations.load(%{}, %{}) do
    # Written by `make generate` from contracts/subsystems/<name>/scenarios.json.
    vectors =
      "../vectors/#{name}.etf"
      |> Path.expand(__DIR__)
      |> File.read!()
      |> :erlang.binary_to_term()

    describe "#{name}:" do
      for scenario <- vectors["scenarios"] do
        @module module
        @scenario :erlang.term_to_binary(scenario)
        test scenario["name"] do
          scenario = :erlang.binary_to_term(@scenario)

          for {step, n} <- Enum.with_index(scenario["steps"]) do
            call = Map.put(step, "key", scenario["key"])
            assert {n, answer(Run.outcome(@module, call), step)} == {n, step["expect"]}
          end
        end
      end

      @digests {digest, vectors["digest"]}
      test "the scenarios are of the contract the node says hello with" do
        {digest, of_scenarios} = @digests
        assert digest == of_scenarios
      end
    end
  end

  defp answer(%{"ok" => ok}, %{"kind" => "query"}) do
    assert ok["effects"] == []
    Map.take(ok, ["reply"])
  end

  defp answer(%{"ok" => ok}, _command), do: ok

  defp answer(%{"refused" => refused}, %{"expect" => expect}) do
    {reason, refused} = Map.pop!(refused, "reason")
    refused |> Map.put("refused", reason) |> Map.take(Map.keys(expect))
  end
end
