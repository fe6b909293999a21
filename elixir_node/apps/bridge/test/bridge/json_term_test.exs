defmodule Bridge.JsonTermTest do
  use ExUnit.Case, async: true

  alias Bridge.JsonTerm

  @largest 9_007_199_254_740_991

  test "JSON is what all three languages share" do
    for term <- [nil, true, false, 0, @largest, -@largest, 1.5, "", "é😀", [], %{}] do
      assert JsonTerm.check(term) == :ok
      assert JsonTerm.check(%{"a" => [term, %{"é" => term}]}) == :ok
    end
  end

  test "anything else is refused with its place and its kind" do
    for {term, text} <- [
          {@largest + 1, "/a~1b/1: expected an integer within ±(2^53-1), got a larger one"},
          {-@largest - 1, "/a~1b/1: expected an integer within ±(2^53-1), got a larger one"},
          {<<255>>, "/a~1b/1: expected UTF-8 text, got other bytes"},
          {<<237, 160, 128>>, "/a~1b/1: expected UTF-8 text, got other bytes"},
          {<<1::3>>, "/a~1b/1: expected a JSON value, got bits"},
          {:an_atom, "/a~1b/1: expected a JSON value, got the atom :an_atom"},
          {{1}, "/a~1b/1: expected a JSON value, got a tuple"},
          {[1 | 2], "/a~1b/1: expected a list, got an improper list"},
          {%{a: 1}, "/a~1b/1: expected string keys, got the atom :a"},
          {%{1 => 1}, "/a~1b/1: expected string keys, got an integer"},
          {%{<<255>> => 1}, "/a~1b/1: expected string keys, got other bytes"},
          {~D[2026-01-01], "/a~1b/1: expected a JSON value, got a struct of Date"},
          {self(), "/a~1b/1: expected a JSON value, got another term"}
        ] do
      assert JsonTerm.check(%{"a/b" => [0, term]}) == {:error, text}
    end
  end

  test "64 levels are taken, 65 are not" do
    assert JsonTerm.check(nest(64)) == :ok
    assert {:error, text} = JsonTerm.check(nest(65))
    assert text =~ ": expected at most 64 levels of nesting, got more"
    assert {:error, _} = JsonTerm.check(nest(100_000))
  end

  defp nest(1), do: []
  defp nest(depth), do: [nest(depth - 1)]
end
