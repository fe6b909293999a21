defmodule Bridge.DeterminismTest do
  use ExUnit.Case, async: true

  alias Bridge.Determinism
  alias Bridge.Test.Contracts

  defp cases(rule), do: Contracts.vectors("determinism/#{rule}")["cases"]

  test "an id is derived from the message's id and a name as in every runtime" do
    for %{"message_id" => message_id, "name" => name, "id" => id} <- cases("derived_id") do
      assert Determinism.derived_id(message_id, name) == id
    end
  end

  test "a random number is derived from the seed as in every runtime" do
    for %{"seed" => seed} = one <- cases("derived_random") do
      assert Determinism.derived_random(seed, one["n"]) == one["random"]
    end
  end

  test "texts sort by code point" do
    for %{"texts" => texts, "sorted" => sorted} <- cases("sort") do
      assert Enum.sort(texts) == sorted
    end
  end

  test "div and rem truncate" do
    for %{"dividend" => dividend, "divisor" => divisor} = one <- cases("divide") do
      assert {div(dividend, divisor), rem(dividend, divisor)} ==
               {one["quotient"], one["remainder"]}
    end
  end

  test "text is cut by code point" do
    for %{"text" => text, "at" => at} = one <- cases("cut") do
      codepoints = String.codepoints(text)
      assert length(codepoints) == one["length"]
      assert codepoints |> Enum.take(at) |> Enum.join() == one["cut"]
    end
  end

  test "text is trimmed in ASCII, in time that grows with its length" do
    for %{"text" => text, "trimmed" => trimmed} <- cases("trim") do
      assert Determinism.trim(text) == trimmed
    end

    inner = "a" <> String.duplicate(" ", 1_000_000) <> "b"
    assert Determinism.trim(inner) == inner
  end
end
