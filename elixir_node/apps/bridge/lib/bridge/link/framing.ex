defmodule Bridge.Link.Framing do
  @moduledoc """
  Length-prefixed frames, as `{packet, 4}` ports use them. Pure.

  A `{packet, 4}` port would reserve whatever length a peer announces; of a frame beyond the limit
  this reader keeps the head, which tells the call it belongs to, and drops the rest.
  """

  @enforce_keys [:max_frame_bytes]
  defstruct max_frame_bytes: nil, chunks: [], size: 0, need: 4, skip: 0

  @head_bytes 64
  # A length that is text, as of a stray print, begins beyond this: nothing could be waited for.
  @most_skipped_bytes 268_435_456

  @type frame :: binary | {:oversized, head :: binary, pos_integer}

  @type t :: %__MODULE__{
          max_frame_bytes: pos_integer,
          chunks: [binary],
          size: non_neg_integer,
          need: pos_integer,
          skip: non_neg_integer
        }

  @doc "Return a reader that takes frames of up to `max_frame_bytes`."
  @spec new(pos_integer) :: t
  def new(max_frame_bytes), do: %__MODULE__{max_frame_bytes: max_frame_bytes}

  @doc "Hand over what was read; `take/1` gives the frames. Chunks are joined once per frame."
  @spec feed(t, binary) :: t
  def feed(%__MODULE__{skip: skip} = reader, data) when skip >= byte_size(data) do
    %{reader | skip: skip - byte_size(data)}
  end

  def feed(%__MODULE__{skip: skip} = reader, data) when skip > 0 do
    feed(%{reader | skip: 0}, binary_part(data, skip, byte_size(data) - skip))
  end

  def feed(%__MODULE__{} = reader, data) do
    %{reader | chunks: [data | reader.chunks], size: reader.size + byte_size(data)}
  end

  @doc """
  Return the complete frames, without their lengths.

  What is no frame by its length is an error: the stream is lost after the frames before it.
  """
  @spec take(t) :: {:ok, [frame], t} | {:error, String.t(), [frame]}
  def take(%__MODULE__{size: size, need: need} = reader) when size < need, do: {:ok, [], reader}

  def take(%__MODULE__{} = reader) do
    reader.chunks |> Enum.reverse() |> IO.iodata_to_binary() |> cut([], reader)
  end

  @doc "Put a frame's length before it."
  @spec frame(iodata) :: iodata
  def frame(body), do: [<<IO.iodata_length(body)::32>> | body]

  defp cut(<<length::32, first, _::binary>>, frames, %{max_frame_bytes: limit})
       when length > limit and first != 131,
       do: lost(length, limit, frames)

  defp cut(<<length::32, _::binary>>, frames, %{max_frame_bytes: limit})
       when length > limit and length > @most_skipped_bytes,
       do: lost(length, limit, frames)

  defp cut(<<length::32, body::binary>> = rest, frames, %{max_frame_bytes: limit} = reader)
       when length > limit do
    here = min(length, byte_size(body))
    head = min(length, @head_bytes)

    if here < head do
      # One byte tells already whether the stream has slipped.
      {:ok, Enum.reverse(frames), keep(reader, rest, if(here == 0, do: 5, else: head + 4))}
    else
      frame = {:oversized, body |> binary_part(0, head) |> :binary.copy(), length}
      rest = binary_part(body, here, byte_size(body) - here)
      cut(rest, [frame | frames], %{reader | skip: length - here})
    end
  end

  defp cut(<<length::32, frame::binary-size(length), rest::binary>>, frames, reader) do
    cut(rest, [frame | frames], reader)
  end

  defp cut(<<length::32, _::binary>> = rest, frames, reader) do
    {:ok, Enum.reverse(frames), keep(reader, rest, length + 4)}
  end

  defp cut(rest, frames, reader), do: {:ok, Enum.reverse(frames), keep(reader, rest, 4)}

  defp lost(length, limit, frames) do
    {:error, "frame of #{length} bytes announced, limit is #{limit}", Enum.reverse(frames)}
  end

  defp keep(reader, "", need), do: %{reader | chunks: [], size: 0, need: need}

  # A copy, so that a few bytes do not keep the whole chunk they came in.
  defp keep(reader, rest, need) do
    %{reader | chunks: [:binary.copy(rest)], size: byte_size(rest), need: need}
  end
end
