defmodule Bridge.ScenariosTest do
  use ExUnit.Case, async: true

  alias Bridge.Test.Contracts
  alias Bridge.Testing.{Json, Scenarios}

  defmodule Told do
    @behaviour Bridge.Implementation

    @impl true
    def handle(_state, _operation, _request, _context) do
      [answer | left] = Process.get(:answers)
      # A run has a process of its own only in the node.
      Process.put(:answers, left)

      case answer do
        %{"refused" => reason} -> {:error, reason, answer["message"], answer["detail"]}
        %{"reply" => reply} -> {:ok, reply, answer["effects"] || [], answer["state"]}
      end
    end
  end

  @ledger Path.join(Contracts.folder("scenarios"), "ledger")

  test "scenarios are worked out as in every language" do
    expected = Contracts.vectors("scenarios/resolved")["scenarios"]

    for {scenario, %{"name" => name, "steps" => steps}} <-
          Enum.zip(Scenarios.load(@ledger), expected) do
      assert scenario.name == name

      for {step, expected} <- Enum.zip(scenario.steps, steps) do
        read = Map.merge(step.call, %{"pointer" => step.pointer, "expect" => step.expect})
        assert Map.delete(read, "key") == expected
        assert step.call["key"] == expected["context"]["key"]
      end
    end
  end

  for %{"name" => name} = vector <- Contracts.vectors("scenarios/runs")["cases"] do
    @vector :erlang.term_to_binary(vector)
    test "compared as in every language: #{name}" do
      %{"answers" => answers, "problem" => problem} = :erlang.binary_to_term(@vector)
      Process.put(:answers, answers)
      [scenario] = Scenarios.load(@ledger)
      expected = if problem == "", do: :ok, else: {:error, problem}
      assert Scenarios.run(scenario, Told) == expected
    end
  end

  defmodule Migrated do
    def migrate(%{"total" => total}, 1, %{"key" => "a"}),
      do: {:ok, %{"minor" => 100 * total + 1, "currency" => "EUR"}}
  end

  test "a state of an older version is migrated first" do
    [{ledger, _}] = Code.compile_file(Path.join(Contracts.migrated(), "ledger.ex"))

    for scenario <- Scenarios.load(Contracts.migrated()),
        do: assert(Scenarios.run(scenario, ledger) == :ok)

    [_, older] = Scenarios.load(Contracts.migrated())
    said = "/scenarios/1 (migrate): /state/minor: expected 700, got 701"
    assert Scenarios.run(older, Migrated) == {:error, said}
    assert {:error, "/scenarios/1 (migrate): crashed: " <> _} = Scenarios.run(older, Told)
  end

  test "merge patches are applied as RFC 7396 has it" do
    for %{"target" => target, "patch" => patch, "result" => result} <-
          Contracts.vectors("scenarios/merged")["cases"] do
      assert Scenarios.merge(target, patch) == result
    end
  end

  test "texts that are JSON are read, others named by the byte" do
    for {text, value} <- [
          {~S( {"a": [1, -2.5, 1e2, -0.0, true, null], "": {}} ),
           %{"a" => [1, -2.5, 100, 0, true, nil], "" => %{}}},
          {~S("\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀"), "\"\\/\b\f\n\r\té😀é😀"},
          {"[]", []}
        ] do
      assert Json.decode!(text) === value
      assert text |> Json.decode!() |> Json.encode() |> Json.decode!() === value
    end

    for {text, byte} <- [
          {"", 0},
          {"[1,]", 3},
          {~S({"a":1,}), 7},
          {~S({"a" 1}), 5},
          {"01", 1},
          {~S("\ud83d"), 1},
          {~S("\x"), 1},
          {"[1] 2", 3},
          {"nul", 0},
          {"\"a\nb\"", 2}
        ] do
      assert_raise ArgumentError, "not JSON at byte #{byte}", fn -> Json.decode!(text) end
    end
  end
end
