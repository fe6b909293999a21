defmodule Bridge.Determinism do
  @moduledoc """
  Ids and random numbers that are the same in every runtime, as `bridge/message.py` makes them.
  """

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

  defp sha256(text), do: :crypto.hash(:sha256, text)
end
