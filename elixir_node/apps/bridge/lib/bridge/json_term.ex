defmodule Bridge.JsonTerm do
  @moduledoc """
  Which terms are JSON in all three languages. Pure.
  """

  @max_integer 9_007_199_254_740_991
  @max_depth 64

  @doc """
  Check that a term is JSON: maps with string keys, lists, valid UTF-8 binaries, integers
  within ±(2^53-1), floats, booleans and `nil`, nested at most #{@max_depth} deep.

  The error says where (RFC 6901) and what came, never the value: it may be secret.
  """
  @spec check(term) :: :ok | {:error, String.t()}
  def check(term) do
    walk(term, [], 0)
  catch
    {:not_json, path, expected, actual} ->
      pointer = path |> Enum.reverse() |> Enum.map_join(&["/", escape(&1)])
      where = if pointer == "", do: "(whole value)", else: pointer
      {:error, "#{where}: expected #{expected}, got #{actual}"}
  end

  defp walk(text, path, _depth) when is_binary(text) do
    utf8?(text) || bad(path, "UTF-8 text", "other bytes")
    :ok
  end

  defp walk(integer, path, _depth) when is_integer(integer) do
    abs(integer) <= @max_integer || bad(path, "an integer within ±(2^53-1)", "a larger one")
    :ok
  end

  defp walk(float, _path, _depth) when is_float(float), do: :ok
  defp walk(atom, _path, _depth) when atom in [nil, true, false], do: :ok

  defp walk(term, path, @max_depth) when is_map(term) or is_list(term) do
    bad(path, "at most #{@max_depth} levels of nesting", "more")
  end

  defp walk(list, path, depth) when is_list(list), do: walk_list(list, path, depth + 1, 0)

  defp walk(map, path, depth) when is_map(map) and not is_struct(map) do
    :maps.fold(&member(&1, &2, &3, path, depth + 1), :ok, map)
  end

  defp walk(other, path, _depth), do: bad(path, "a JSON value", name(other))

  defp walk_list([], _path, _depth, _index), do: :ok

  defp walk_list([item | rest], path, depth, index) do
    walk(item, [index | path], depth)
    walk_list(rest, path, depth, index + 1)
  end

  defp walk_list(_tail, path, _depth, _index), do: bad(path, "a list", "an improper list")

  defp member(key, value, :ok, path, depth) do
    (is_binary(key) and utf8?(key)) || bad(path, "string keys", name(key))
    walk(value, [key | path], depth)
  end

  # The built-in returns the very binary when it is valid, and walks it in C.
  defp utf8?(text), do: :unicode.characters_to_binary(text) == text

  defp bad(path, expected, actual), do: throw({:not_json, path, expected, actual})

  defp name(%module{}), do: "a struct of #{inspect(module)}"
  defp name(term) when is_atom(term), do: "the atom #{inspect(term)}"
  defp name(term) when is_tuple(term), do: "a tuple"
  defp name(term) when is_binary(term), do: "other bytes"
  defp name(term) when is_bitstring(term), do: "bits"
  defp name(term) when is_function(term), do: "a function"
  defp name(term) when is_integer(term), do: "an integer"
  defp name(_term), do: "another term"

  defp escape(index) when is_integer(index), do: Integer.to_string(index)
  defp escape(key), do: key |> String.replace("~", "~0") |> String.replace("/", "~1")
end
