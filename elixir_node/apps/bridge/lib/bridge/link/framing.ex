defmodule Bridge.Link.Framing do
  @moduledoc """
  Length-prefixed frames, as `{packet, 4}` ports use them. Pure.

  A `{packet, 4}` port would reserve whatever length a peer announces; this reader refuses it.
  """

  @enforce_keys [:max_frame_bytes]
  defstruct max_frame_bytes: nil, chunks: [], size: 0, need: 4

  @type t :: %__MODULE__{
          max_frame_bytes: pos_integer,
          chunks: [binary],
          size: non_neg_integer,
          need: pos_integer
        }

  @doc "Return a reader that takes frames of up to `max_frame_bytes`."
  @spec new(pos_integer) :: t
  def new(max_frame_bytes), do: %__MODULE__{max_frame_bytes: max_frame_bytes}

  @doc "Hand over what was read; `take/1` gives the frames. Chunks are joined once per frame."
  @spec feed(t, binary) :: t
  def feed(%__MODULE__{} = reader, data) do
    %{reader | chunks: [data | reader.chunks], size: reader.size + byte_size(data)}
  end

  @doc """
  Return the complete frames, without their lengths.

  An announced length beyond the limit is an error as soon as it is read: the stream is lost
  after the frames before it.
  """
  @spec take(t) :: {:ok, [binary], t} | {:error, String.t(), [binary]}
  def take(%__MODULE__{size: size, need: need} = reader) when size < need, do: {:ok, [], reader}

  def take(%__MODULE__{} = reader) do
    reader.chunks |> Enum.reverse() |> IO.iodata_to_binary() |> cut([], reader)
  end

  @doc "Put a frame's length before it."
  @spec frame(iodata) :: iodata
  def frame(body), do: [<<IO.iodata_length(body)::32>> | body]

  defp cut(<<length::32, _::binary>>, frames, %{max_frame_bytes: limit}) when length > limit do
    {:error, "frame of #{length} bytes announced, limit is #{limit}", Enum.reverse(frames)}
  end

  defp cut(<<length::32, frame::binary-size(length), rest::binary>>, frames, reader) do
    cut(rest, [frame | frames], reader)
  end

  defp cut(<<length::32, _::binary>> = rest, frames, reader) do
    {:ok, Enum.reverse(frames), keep(reader, rest, length + 4)}
  end

  defp cut(rest, frames, reader), do: {:ok, Enum.reverse(frames), keep(reader, rest, 4)}

  defp keep(reader, "", need), do: %{reader | chunks: [], size: 0, need: need}

  # A copy, so that a few bytes do not keep the whole chunk they came in.
  defp keep(reader, rest, need) do
    %{reader | chunks: [:binary.copy(rest)], size: byte_size(rest), need: need}
  end
end
