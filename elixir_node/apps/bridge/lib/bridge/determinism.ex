defmodule Bridge.Determinism do
  @moduledoc """
  What is computed the same in every runtime: ids and random numbers as `bridge/message.py`
  makes them, and text trimmed in ASCII.
  """

  defguardp is_white_space(byte) when byte == ?\s or byte in ?\t..?\r

  @doc "Return UUIDv8 `name` of a message: SHA-256 of `message id/name` (RFC 9562, 5.8)."
  @spec derived_id(String.t(), String.t() | integer) :: String.t()
  def derived_id(message_id, name) do
    <<a::48, _::4, b::12, _::2, c::62, _::binary>> = sha256("#{message_id}/#{name}")

    <<a::binary-8, b::binary-4, c::binary-4, d::binary-4, e::binary-12>> =
      Base.encode16(<<a::48, 8::4, b::12, 2::2, c::62>>, case: :lower)

    "#{a}-#{b}-#{c}-#{d}-#{e}"
  end

  @doc "Return random integer `n` of a seed, 0 to 2^53-1: the top 53 bits of SHA-256."
  @spec derived_random(String.t(), integer) :: non_neg_integer
  def derived_random(seed, n) do
    <<random::53, _::bitstring>> = sha256("#{seed}/#{n}")
    random
  end

  @doc "Take away ASCII white space at both ends; `String.trim/1` takes more."
  @spec trim(String.t()) :: String.t()
  # Not by a regular expression: those take quadratic time for white space within.
  def trim(<<byte, rest::binary>>) when is_white_space(byte), do: trim(rest)
  def trim(text), do: trim_trailing(text, byte_size(text) - 1)

  defp trim_trailing(text, last) when last >= 0 do
    if is_white_space(:binary.at(text, last)),
      do: trim_trailing(text, last - 1),
      else: binary_part(text, 0, last + 1)
  end

  defp trim_trailing(_text, _last), do: ""

  defp sha256(text), do: :crypto.hash(:sha256, text)
end
