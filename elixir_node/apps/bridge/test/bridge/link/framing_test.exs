defmodule Bridge.Link.FramingTest do
  use ExUnit.Case, async: true

  alias Bridge.Link.Framing

  defp bytes(frames), do: frames |> Enum.map(&Framing.frame/1) |> IO.iodata_to_binary()

  defp feed(reader, chunks) do
    Enum.reduce(chunks, {[], reader}, fn chunk, {frames, reader} ->
      {:ok, more, reader} = reader |> Framing.feed(chunk) |> Framing.take()
      {frames ++ more, reader}
    end)
  end

  defp chunks("", _size), do: []
  defp chunks(bytes, size) when byte_size(bytes) <= size, do: [bytes]

  defp chunks(bytes, size) do
    {chunk, rest} = :erlang.split_binary(bytes, size)
    [chunk | chunks(rest, size)]
  end

  test "a frame's length is four bytes, big-endian" do
    assert IO.iodata_to_binary(Framing.frame(["ab", ?c])) == <<0, 0, 0, 3, "abc">>
  end

  test "frames come out the same however the stream was cut" do
    frames = ["", "a", "é😀", :binary.copy("x", 300), <<0, 0, 0, 1>>, ""]
    bytes = bytes(frames)

    for size <- 1..byte_size(bytes) do
      assert {^frames, %{size: 0, need: 4}} = feed(Framing.new(300), chunks(bytes, size))
    end
  end

  test "frames come out the same when the stream is cut at random" do
    frames = for n <- 1..50, do: :binary.copy(<<n>>, rem(n * 37, 200))
    bytes = bytes(frames)
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..200 do
      {chunks, rest} =
        Enum.map_reduce(1..20, bytes, fn _, rest ->
          at = :rand.uniform(byte_size(rest) + 1) - 1
          :erlang.split_binary(rest, at)
        end)

      assert {^frames, _} = feed(Framing.new(200), chunks ++ [rest])
    end
  end

  test "of a frame beyond the limit its head comes, however the stream was cut" do
    assert {["12345678"], _} = feed(Framing.new(8), [<<8::32, "12345678">>])
    body = <<131>> <> :binary.copy("x", 99)
    bytes = <<1::32, "a", 100::32, body::binary, 1::32, "b", 9::32, 131, "12345678">>
    expected = ["a", {:oversized, binary_part(body, 0, 64), 100}, "b"]
    expected = expected ++ [{:oversized, <<131, "12345678">>, 9}]

    for size <- 1..byte_size(bytes) do
      assert {^expected, %{size: 0, skip: 0}} = feed(Framing.new(8), chunks(bytes, size))
    end
  end

  test "what is no frame is refused by its length, or its first byte" do
    assert Framing.new(8) |> Framing.feed(<<9::32, ?a>>) |> Framing.take() ==
             {:error, "frame of 9 bytes announced, limit is 8", []}

    assert {:error, _, []} = Framing.new(8) |> Framing.feed(<<0x7FFFFFFF::32>>) |> Framing.take()
  end

  test "a large frame in small chunks is joined once" do
    bytes = bytes([:binary.copy("x", 4_000_000)])
    reader = Framing.new(4_194_304)
    parts = chunks(bytes, 1_000)
    {time_us, {[frame], _}} = :timer.tc(fn -> feed(reader, parts) end)
    assert byte_size(frame) == 4_000_000
    # Joining at each chunk would copy 8 GB.
    assert time_us < 2_000_000
  end
end
