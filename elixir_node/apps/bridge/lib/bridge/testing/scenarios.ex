defmodule Bridge.Testing.Scenarios do
  @moduledoc """
  Runs a subsystem's `scenarios.json` against its Elixir implementation, without a bridge.

      defmodule TallyTest do
        use ExUnit.Case, async: true
        use Bridge.Testing.Scenarios, folder: "mine/tally", implementation: Subsystem.Tally
      end

  is one test for each scenario. contracts/README.md has the rules; contract and scenarios are
  held to their schemas by `bridge contracts check`, not here.
  """

  alias Bridge.Keys.Run
  alias Bridge.Testing.Json

  @type step :: %{pointer: String.t(), call: map, expect: map}
  @type scenario :: %{name: String.t(), steps: [step]}

  @doc false
  defmacro __using__(options) do
    quote bind_quoted: [options: options] do
      @bridge_folder Path.expand(options[:folder])
      @bridge_implementation options[:implementation]
      @external_resource Path.join(@bridge_folder, "subsystem.json")
      @external_resource Path.join(@bridge_folder, "scenarios.json")

      for {%{name: name}, n} <- Enum.with_index(Bridge.Testing.Scenarios.load(@bridge_folder)) do
        @bridge_scenario n
        test "#{Path.basename(@bridge_folder)}: #{name}" do
          scenario = Enum.at(Bridge.Testing.Scenarios.load(@bridge_folder), @bridge_scenario)

          with {:error, text} <- Bridge.Testing.Scenarios.run(scenario, @bridge_implementation),
               do: flunk(text)
        end
      end
    end
  end

  @doc "Read a subsystem's folder: its scenarios, with nothing left to work out."
  @spec load(Path.t()) :: [scenario]
  def load(folder) do
    [contract, %{"scenarios" => scenarios}] =
      for file <- ["subsystem.json", "scenarios.json"],
          do: folder |> Path.join(file) |> File.read!() |> Json.decode!()

    for {scenario, n} <- Enum.with_index(scenarios), do: resolve(contract, scenario, n)
  end

  @doc "Run every step; the error names the first difference by its JSON pointers."
  @spec run(scenario, module) :: :ok | {:error, String.t()}
  def run(%{steps: steps}, implementation) do
    Enum.find_value(steps, :ok, fn step ->
      case step(step, Run.outcome(implementation, step.call)) do
        nil -> nil
        text -> {:error, "#{step.pointer} (#{step.call["operation"]}): #{text}"}
      end
    end)
  end

  @doc "Name the first place where two values differ; nil if they don't."
  @spec difference(term, term, String.t()) :: String.t() | nil
  def difference(expected, actual, pointer \\ "")

  def difference(expected, actual, pointer) when is_map(expected) and is_map(actual) do
    [missing, more] =
      for {a, b} <- [{expected, actual}, {actual, expected}], do: Map.drop(a, Map.keys(b))

    below =
      for name <- expected |> Map.drop(Map.keys(missing)) |> Map.keys() |> Enum.sort(),
          text = difference(expected[name], actual[name], "#{pointer}/#{escape(name)}"),
          do: text

    odd =
      for {name, what} <-
            Enum.sort(
              Enum.map(missing, &{elem(&1, 0), "is missing"}) ++
                Enum.map(more, &{elem(&1, 0), "should not be there"})
            ),
          do: "#{pointer}/#{escape(name)} #{what}"

    List.first(below ++ odd)
  end

  def difference(expected, actual, pointer) when is_list(expected) and is_list(actual) do
    if length(expected) == length(actual) do
      [expected, actual]
      |> Enum.zip()
      |> Enum.with_index()
      |> Enum.find_value(fn {{e, a}, n} -> difference(e, a, "#{pointer}/#{n}") end)
    else
      "#{pointer}: expected #{length(expected)} items, got #{length(actual)}"
    end
  end

  def difference(same, same, _pointer), do: nil

  def difference(expected, actual, pointer),
    do: "#{pointer}: expected #{short(expected)}, got #{short(actual)}"

  defp short(value) do
    text = Json.encode(value)
    if String.length(text) <= 80, do: text, else: String.slice(text, 0, 79) <> "…"
  end

  @doc "Apply a JSON merge patch (RFC 7396)."
  @spec merge(term, term) :: term
  def merge(target, patch) when is_map(patch) do
    Enum.reduce(patch, if(is_map(target), do: target, else: %{}), fn
      {name, nil}, merged -> Map.delete(merged, name)
      {name, value}, merged -> Map.put(merged, name, merge(merged[name], value))
    end)
  end

  def merge(_target, patch), do: patch

  defp resolve(contract, %{"name" => name, "key" => key} = scenario, n) do
    first = if Map.has_key?(scenario, "given_version"), do: "migrated", else: "given"
    state = Map.get(scenario, first, contract["initial_state"])

    {steps, _state} =
      scenario["steps"]
      |> Enum.with_index()
      |> Enum.map_reduce(state, fn {step, m}, state ->
        %{"kind" => kind} = operation = contract["operations"][step["operation"]]
        message_id = Map.get(step, "message_id", "#{slug(name)}/#{m}")

        call = %{
          "key" => key,
          "operation" => step["operation"],
          "kind" => kind,
          "request" => Map.merge(defaults(contract, operation["request"]), step["request"]),
          "state" => state,
          "context" => context(message_id, key, step["now_ms"], contract["timeout_ms"])
        }

        expect = expected(step["expect"], kind, state)
        resolved = %{pointer: "/scenarios/#{n}/steps/#{m}", call: call, expect: expect}
        {resolved, Map.get(expect, "state", state)}
      end)

    %{name: name, steps: migration(scenario, "/scenarios/#{n}", steps) ++ steps}
  end

  # A state of an older version passes through `migrate` before the first step meets it.
  defp migration(%{"given_version" => version} = scenario, pointer, [%{call: call} | _]) do
    call = %{
      call
      | "operation" => "migrate",
        "kind" => "migration",
        "request" => %{"from_version" => version},
        "state" => scenario["given"]
    }

    expect = %{"reply" => nil, "effects" => [], "state" => scenario["migrated"]}
    [%{pointer: pointer, call: call, expect: expect}]
  end

  defp migration(_scenario, _pointer, _steps), do: []

  defp expected(%{"refused" => _} = refusal, _kind, _state), do: refusal
  defp expected(expect, "query", _state), do: Map.take(expect, ["reply"])

  defp expected(expect, "command", state) do
    case Map.pop(expect, "patch") do
      {nil, expect} -> Map.put_new(expect, "state", state)
      {patch, expect} -> Map.put(expect, "state", merge(state, patch))
    end
  end

  defp step(%{expect: %{"refused" => reason} = expect}, outcome) do
    case outcome do
      %{"refused" => %{"reason" => ^reason} = refused} ->
        held = Map.delete(expect, "refused")
        difference(held, refused |> Map.take(Map.keys(held)) |> normalise())

      %{"refused" => %{"reason" => other}} ->
        "refused with #{other}, expected #{reason}"

      other ->
        "expected the refusal #{reason}, got #{said(other)}"
    end
  end

  defp step(%{expect: expect, call: %{"kind" => kind}}, %{"ok" => ok}) do
    ok = if kind == "query" and ok["effects"] == [], do: Map.take(ok, ["reply"]), else: ok
    Enum.find_value(["reply", "effects", "state"], &part(expect, ok, &1))
  end

  defp step(_step, %{"refused" => %{"reason" => reason}}),
    do: "refused with #{reason}, expected an outcome"

  defp step(_step, other), do: said(other)

  defp part(expect, ok, name) when is_map_key(expect, name),
    do: difference(expect[name], normalise(ok[name]), "/#{name}")

  defp part(_expect, ok, "effects") when is_map_key(ok, "effects"), do: "a query has no effects"
  defp part(_expect, _ok, _name), do: nil

  defp said(%{"ok" => _}), do: "an outcome"
  defp said(%{"fault" => %{"kind" => kind, "message" => text}}), do: "#{kind}: #{text}"

  # As the gateway reads it: 1.0 is 1.
  defp normalise(map) when is_map(map), do: Map.new(map, fn {k, v} -> {k, normalise(v)} end)
  defp normalise(list) when is_list(list), do: Enum.map(list, &normalise/1)
  defp normalise(float) when is_float(float) and trunc(float) == float, do: trunc(float)
  defp normalise(value), do: value

  defp defaults(contract, %{"$ref" => "#/$defs/" <> name}),
    do: defaults(contract, contract["$defs"][name])

  defp defaults(_contract, schema) do
    for {name, %{"default" => default}} <- Map.get(schema, "properties", %{}),
        into: %{},
        do: {name, default}
  end

  defp context(message_id, key, now_ms, timeout_ms) do
    seed = Base.encode16(:crypto.hash(:sha256, "#{message_id}/seed"), case: :lower)
    at = DateTime.from_unix!(div(now_ms, 1000))

    %{
      "message_id" => message_id,
      "key" => key,
      "now_ms" => now_ms,
      "local" => %{
        "date" => Date.to_iso8601(at),
        "time" => at |> DateTime.to_time() |> Time.to_iso8601(),
        "zone" => "UTC"
      },
      "seed" => seed,
      "deadline_ms" => now_ms + (timeout_ms || 5000)
    }
  end

  defp slug(name) do
    name |> String.downcase(:ascii) |> String.replace(~r/[^a-z0-9]+/, "-") |> String.trim("-")
  end

  defp escape(name), do: name |> String.replace("~", "~0") |> String.replace("/", "~1")
end
