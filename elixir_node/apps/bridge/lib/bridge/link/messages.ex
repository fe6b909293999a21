defmodule Bridge.Link.Messages do
  @moduledoc """
  ErlPort 0.11's messages as terms in frames. Pure.

  Nothing a peer sends makes an atom: the atoms of the protocol are in this module, any other
  unknown one makes its frame undecodable.
  """

  @type id :: integer
  @type message ::
          {:call, id, module, function :: atom, args :: list}
          | {:result, id, term}
          | {:error, id, term}
          | {:cast, to :: term, term}
          | {:cast_failed, term}
          | {:printed, binary}

  # What a peer may send besides the atoms matched below; here so that [:safe] knows them.
  @known [:elixir, :ok, :pong, :python, :undefined] ++
           [:bad_term, :bad_value, :crashed, :no_hello, :overloaded, :unknown_function]

  @doc "Return the atoms a peer may use beside those of the envelope."
  @spec known() :: [atom]
  def known, do: @known

  @doc "Write a call to the peer."
  @spec call(id, atom, list) :: iodata
  def call(id, function, args), do: encode({:C, id, :bridge, function, args})

  @doc "Write an asynchronous message to the peer."
  @spec cast(term) :: iodata
  def cast(message), do: encode({:M, message})

  @doc "Tell which call a frame beyond the limit belongs to, by its first bytes."
  @spec oversized(binary, pos_integer, pos_integer) ::
          {:error, {:undecodable, :call | :answer | nil, id | nil, String.t()}}
  def oversized(head, size, max_bytes),
    do: salvage(head, "a frame of #{size} bytes, the limit is #{max_bytes}")

  @doc "Write the result of the peer's call `id`."
  @spec result(id, term) :: iodata
  def result(id, result), do: encode({:r, id, result})

  @doc "Write the result of the peer's call `id` around a term that `encode/1` made."
  @spec encoded_result(id, binary) :: iodata
  def encoded_result(id, <<131, term::binary>>) do
    # The outer tuple without its last element: a term's bytes are the same wherever it stands.
    outer = encode({:r, id, []})
    [binary_part(outer, 0, byte_size(outer) - 1) | term]
  end

  @doc "Write the failure of the peer's call `id`."
  @spec error(id, class :: atom, String.t()) :: iodata
  def error(id, class, text), do: encode({:e, id, {:elixir, class, text, []}})

  @doc "Write one term; minor version 1 because ErlPort 0.11 reads Latin-1 atoms only."
  @spec encode(term) :: binary
  def encode(term), do: :erlang.term_to_binary(term, minor_version: 1)

  @doc """
  Read one frame.

  `{:undecodable, kind, id, text}` is a frame with a term this side does not take; `kind` and
  `id` are `nil` when nobody can be told.
  """
  @spec decode(binary, pos_integer) ::
          {:ok, message}
          | {:error, {:undecodable, :call | :answer | nil, id | nil, String.t()}}
  def decode(frame, max_bytes) do
    case term(frame, max_bytes) do
      {:ok, term} -> read(term)
      {:error, text} -> salvage(frame, text)
    end
  end

  @doc """
  Read the one term of a frame; `max_bytes` limits what a compressed one may become.
  """
  @spec term(binary, pos_integer) :: {:ok, term} | {:error, String.t()}
  def term(<<131, 80, size::32, _::binary>>, max_bytes) when size > max_bytes do
    {:error, "compressed frame of #{size} bytes, limit is #{max_bytes}"}
  end

  def term(frame, _max_bytes) do
    case :erlang.binary_to_term(frame, [:safe, :used]) do
      {term, used} when used == byte_size(frame) -> {:ok, term}
      {_term, used} -> {:error, "#{byte_size(frame) - used} bytes after the term"}
    end
  rescue
    ArgumentError -> {:error, "a term that is malformed or has an unknown atom"}
  end

  defp read({:C, id, module, function, args, context}) when context in [:N, :L],
    do: read({:C, id, module, function, args})

  # length/1 in a guard is false for what is not a proper list.
  defp read({:C, id, module, function, args})
       when is_integer(id) and is_atom(module) and is_atom(function) and length(args) >= 0,
       do: {:ok, {:call, id, module, function, args}}

  defp read({:C, id, _module, _function, _args}) when is_integer(id),
    do: undecodable(:call, id, "a call without function or arguments")

  defp read({:r, id, result}) when is_integer(id), do: {:ok, {:result, id, result}}
  defp read({:e, id, error}) when is_integer(id), do: {:ok, {:error, id, error}}
  defp read({:e, error}), do: {:ok, {:cast_failed, error}}
  defp read({:M, to, message}), do: {:ok, {:cast, to, message}}
  defp read({:P, text}) when is_binary(text), do: {:ok, {:printed, text}}
  # ErlPort's Python 3 half sends a charlist.
  defp read({:P, text}) when is_list(text), do: {:ok, {:printed, printed(text)}}
  defp read(_other), do: undecodable(nil, nil, "not one of ErlPort's messages")

  defp printed(text) do
    List.to_string(text)
  rescue
    ArgumentError -> inspect(text)
  end

  # The head of an envelope, tuple tag and atom by hand, so that an answer can name the call.
  defp salvage(<<131, 104, _arity, rest::binary>>, text) do
    with {kind, rest} <- salvage_kind(rest), id when is_integer(id) <- salvage_id(rest) do
      undecodable(kind, id, text)
    else
      _ -> undecodable(nil, nil, text)
    end
  end

  defp salvage(_frame, text), do: undecodable(nil, nil, text)

  defp salvage_kind(<<100, 1::16, letter, rest::binary>>), do: kind(letter, rest)
  defp salvage_kind(<<118, 1::16, letter, rest::binary>>), do: kind(letter, rest)
  defp salvage_kind(<<119, 1, letter, rest::binary>>), do: kind(letter, rest)
  defp salvage_kind(_other), do: nil

  defp kind(?C, rest), do: {:call, rest}
  defp kind(letter, rest) when letter in [?r, ?e], do: {:answer, rest}
  defp kind(_letter, _rest), do: nil

  defp salvage_id(<<97, id, _::binary>>), do: id
  defp salvage_id(<<98, id::signed-32, _::binary>>), do: id
  defp salvage_id(<<110, size, 0, id::little-size(size)-unit(8), _::binary>>), do: id
  defp salvage_id(_other), do: nil

  defp undecodable(kind, id, text), do: {:error, {:undecodable, kind, id, text}}
end
