defmodule Bridge.Link.MessagesTest do
  use ExUnit.Case, async: true

  alias Bridge.Link.Messages

  @limit 1_000_000

  defp decode(term), do: Messages.decode(:erlang.term_to_binary(term), @limit)
  defp bytes(iodata), do: IO.iodata_to_binary(iodata)

  test "what the node writes are ErlPort 0.11's terms" do
    read = fn iodata -> :erlang.binary_to_term(bytes(iodata), [:safe]) end
    assert read.(Messages.call(1, :ping, [])) == {:C, 1, :bridge, :ping, []}
    assert read.(Messages.cast(:superseded)) == {:M, :superseded}
    assert read.(Messages.result(2, %{"a" => nil})) == {:r, 2, %{"a" => nil}}

    assert read.(Messages.error(3, :bad_term, "text")) ==
             {:e, 3, {:elixir, :bad_term, "text", []}}
  end

  test "atoms are written as Latin-1, which ErlPort 0.11 can read" do
    assert bytes(Messages.call(1, :ping, [])) ==
             <<131, 104, 5, 100, 0, 1, "C", 97, 1, 100, 0, 6, "bridge", 100, 0, 4, "ping", 106>>
  end

  test "a result around an encoded term is the result of that term" do
    for id <- [0, 255, 256, -1, 0x7FFFFFFF, 0x80000000, 1_000_000_000_000_000_000_000],
        term <- [nil, [], %{"é" => [1, 2.5, "😀"]}, "", :binary.copy("x", 100_000)] do
      encoded = bytes(Messages.encoded_result(id, Messages.encode(term)))
      assert encoded == bytes(Messages.result(id, term))
      assert Messages.decode(encoded, @limit) == {:ok, {:result, id, term}}
    end
  end

  test "every message of the worker is read" do
    for {term, message} <- [
          {{:C, 1, :bridge, :ping, [], :N}, {:call, 1, :bridge, :ping, []}},
          {{:C, 1, :bridge, :ping, [], :L}, {:call, 1, :bridge, :ping, []}},
          {{:C, -1, :erlang, :self, [], :N}, {:call, -1, :erlang, :self, []}},
          {{:r, 1, %{"a" => [nil, true]}}, {:result, 1, %{"a" => [nil, true]}}},
          {{:e, 1, {:python, :crashed, "x", []}}, {:error, 1, {:python, :crashed, "x", []}}},
          {{:e, :undefined}, {:cast_failed, :undefined}},
          {{:M, :bridge, ["edge", 1]}, {:cast, :bridge, ["edge", 1]}},
          {{:M, self(), 1}, {:cast, self(), 1}},
          {{:P, "print"}, {:printed, "print"}},
          {{:P, ~c"é€"}, {:printed, "é€"}},
          {{:P, [:a]}, {:printed, "[:a]"}}
        ] do
      assert decode(term) == {:ok, message}
    end
  end

  test "a list of small integers is a list, sent as a string or not" do
    assert Messages.decode(<<131, 104, 3, 119, 1, ?r, 97, 1, 107, 0, 2, 1, 2>>, @limit) ==
             {:ok, {:result, 1, [1, 2]}}
  end

  test "anything else is undecodable" do
    for term <- [1, {}, {:C, 1}, {:C, 1, :bridge, :ping, [], :X}, {:C, :a, :bridge, :ping, []}] do
      assert {:error, {:undecodable, nil, nil, _}} = decode(term)
    end

    assert {:error, {:undecodable, nil, nil, _}} = Messages.decode("", @limit)
    assert {:error, {:undecodable, nil, nil, _}} = Messages.decode(<<131>>, @limit)
    assert {:error, {:undecodable, nil, nil, _}} = Messages.decode("no term", @limit)
  end

  test "an unknown atom makes no atom, and the call it came in can still be answered" do
    name = "never_seen_#{System.unique_integer([:positive])}"
    atom = <<119, byte_size(name), name::binary>>

    for {id_bytes, id} <- [{<<97, 7>>, 7}, {<<98, -7::32>>, -7}, {<<110, 2, 0, 0, 1>>, 256}],
        c <- [<<100, 0, 1, ?C>>, <<118, 0, 1, ?C>>, <<119, 1, ?C>>] do
      frame = <<131, 104, 6, c::binary, id_bytes::binary, 119, 6, "bridge", atom::binary>>
      frame = frame <> <<106, 119, 1, ?N>>
      assert {:error, {:undecodable, :call, ^id, _}} = Messages.decode(frame, @limit)
    end

    answer = <<131, 104, 3, 119, 1, ?r, 97, 7, atom::binary>>
    assert {:error, {:undecodable, :answer, 7, _}} = Messages.decode(answer, @limit)
    assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
  end

  test "bytes after the term are refused" do
    frame = :erlang.term_to_binary({:r, 9, 1}, minor_version: 1)

    assert Messages.decode(frame <> <<0, 0, 0, 0>>, @limit) ==
             {:error, {:undecodable, :answer, 9, "4 bytes after the term"}}
  end

  test "a compressed frame is read within the limit, refused beyond it" do
    term = {:r, 1, :binary.copy("x", 10_000)}
    frame = :erlang.term_to_binary(term, compressed: 9)
    assert byte_size(frame) < 1_000
    assert {:ok, {:result, 1, _}} = Messages.decode(frame, 20_000)
    assert {:error, {:undecodable, nil, nil, text}} = Messages.decode(frame, 10_000)
    assert text =~ "limit is 10000"
  end

  test "no bytes crash the reader" do
    :rand.seed(:exsss, {4, 5, 6})
    frame = :erlang.term_to_binary({:C, 300, :bridge, :handle, [%{"a" => [1.5, nil]}], :N})

    for _ <- 1..5_000 do
      at = :rand.uniform(byte_size(frame)) - 1
      {before, <<_, rest::binary>>} = :erlang.split_binary(frame, at)
      Messages.decode(<<before::binary, :rand.uniform(256) - 1, rest::binary>>, @limit)
      Messages.decode(:binary.part(frame, 0, at), @limit)
      Messages.decode(:rand.bytes(at), @limit)
    end
  end
end
