defmodule Bridge.Testing.Json do
  @moduledoc """
  Reads JSON, for tests: OTP has none before 27, and the node itself needs none. Pure.

  Values are normalised as the gateway does it: integral floats and -0 become integers. What the
  bridge refuses (numbers beyond 2^53-1, a member twice) is not looked for: contracts and
  scenarios are judged by `bridge contracts check`.
  """

  @escapes %{
    ?" => ?",
    ?\\ => ?\\,
    ?/ => ?/,
    ?b => ?\b,
    ?f => ?\f,
    ?n => ?\n,
    ?r => ?\r,
    ?t => ?\t
  }

  @written for {escape, one} <- Map.delete(@escapes, ?/), into: %{}, do: {one, escape}

  @doc "Return the value of a JSON text. Raises ArgumentError with the byte it fails at."
  @spec decode!(String.t()) :: Bridge.Implementation.json()
  def decode!(text) do
    case value(skip(text)) do
      {value, rest} -> if skip(rest) == "", do: value, else: throw({:at, rest})
    end
  catch
    {:at, rest} ->
      raise ArgumentError, "not JSON at byte #{byte_size(text) - byte_size(rest)}"
  end

  @doc "Return the text of a value, members in the order of their names."
  @spec encode(Bridge.Implementation.json()) :: String.t()
  def encode(map) when is_map(map) do
    "{" <>
      Enum.map_join(Enum.sort(map), ",", fn {k, v} -> encode(k) <> ":" <> encode(v) end) <> "}"
  end

  def encode(list) when is_list(list), do: "[" <> Enum.map_join(list, ",", &encode/1) <> "]"
  def encode(nil), do: "null"
  def encode(atom) when is_atom(atom), do: Atom.to_string(atom)
  def encode(number) when is_number(number), do: to_string(number)

  def encode(text) do
    written = for <<one::utf8 <- text>>, into: "", do: written(one)
    "\"" <> written <> "\""
  end

  defp written(one) when is_map_key(@written, one), do: <<?\\, @written[one]>>

  defp written(one) when one < ?\s,
    do: "\\u" <> (one |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(4, "0"))

  defp written(one), do: <<one::utf8>>

  defp value("{" <> rest), do: object(skip(rest), [])
  defp value("[" <> rest), do: array(skip(rest), [])
  defp value("\"" <> rest), do: string(rest, [])
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("null" <> rest), do: {nil, rest}
  defp value(rest), do: number(rest)

  defp object("}" <> rest, []), do: {%{}, rest}

  defp object("\"" <> rest, members) do
    {name, rest} = string(rest, [])
    {value, rest} = rest |> skip() |> expect(":") |> skip() |> value()

    case skip(rest) do
      "," <> rest -> object(rest |> skip() |> peek("\""), [{name, value} | members])
      "}" <> rest -> {Map.new([{name, value} | members]), rest}
      rest -> throw({:at, rest})
    end
  end

  defp object(rest, _members), do: throw({:at, rest})

  defp array("]" <> rest, []), do: {[], rest}

  defp array(rest, items) do
    {item, rest} = value(rest)

    case skip(rest) do
      "," <> rest -> array(skip(rest), [item | items])
      "]" <> rest -> {Enum.reverse([item | items]), rest}
      rest -> throw({:at, rest})
    end
  end

  defp string("\"" <> rest, text), do: {text |> Enum.reverse() |> IO.iodata_to_binary(), rest}

  # A pair of surrogates is one character beyond the basic plane.
  defp string(<<"\\u", high::binary-4, "\\u", low::binary-4, rest::binary>> = all, text) do
    case {hex(high, all), hex(low, all)} do
      {high, low} when high in 0xD800..0xDBFF and low in 0xDC00..0xDFFF ->
        code = 0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00)
        string(rest, [<<code::utf8>> | text])

      {one, _} ->
        string("\\u" <> low <> rest, [character(one, all) | text])
    end
  end

  defp string(<<"\\u", one::binary-4, rest::binary>> = all, text),
    do: string(rest, [character(hex(one, all), all) | text])

  defp string(<<"\\", escape, rest::binary>>, text) when is_map_key(@escapes, escape),
    do: string(rest, [@escapes[escape] | text])

  defp string(<<one::utf8, rest::binary>>, text) when one >= ?\s and one != ?\\,
    do: string(rest, [<<one::utf8>> | text])

  defp string(rest, _text), do: throw({:at, rest})

  defp hex(digits, at) do
    case Integer.parse(digits, 16) do
      {code, ""} -> code
      _ -> throw({:at, at})
    end
  end

  defp character(code, at) when code in 0xD800..0xDFFF, do: throw({:at, at})
  defp character(code, _at), do: <<code::utf8>>

  @number ~r/\A(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][+-]?[0-9]+)?/

  defp number(text) do
    case Regex.run(@number, text) do
      nil -> throw({:at, text})
      [all, integer] -> {String.to_integer(integer), rest(text, all)}
      [all, integer, fraction] -> {float(integer, fraction, ""), rest(text, all)}
      [all, integer, fraction, exponent] -> {float(integer, fraction, exponent), rest(text, all)}
    end
  end

  defp float(integer, fraction, exponent) do
    fraction = if fraction == "", do: ".0", else: fraction
    float = String.to_float(integer <> fraction <> exponent)
    if trunc(float) == float, do: trunc(float), else: float
  end

  defp rest(text, all), do: binary_part(text, byte_size(all), byte_size(text) - byte_size(all))

  defp expect(text, wanted), do: text |> peek(wanted) |> rest(wanted)

  defp peek(text, wanted) do
    if String.starts_with?(text, wanted), do: text, else: throw({:at, text})
  end

  defp skip(<<space, rest::binary>>) when space in [?\s, ?\n, ?\t, ?\r], do: skip(rest)
  defp skip(rest), do: rest
end
