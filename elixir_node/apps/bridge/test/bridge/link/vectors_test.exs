defmodule Bridge.Link.VectorsTest do
  use ExUnit.Case, async: true

  alias Bridge.JsonTerm
  alias Bridge.Link.{Framing, Messages, Session}
  alias Bridge.Test.Contracts

  @limit 1_000_000

  defp vectors(file) do
    for %{"name" => name, "hex" => hex} = vector <- Contracts.vectors(file)["vectors"] do
      {name, Base.decode16!(hex, case: :lower), vector}
    end
  end

  test "terms that hold JSON are read" do
    for {name, bytes, %{"value" => value}} <- vectors("etf/accepted") do
      assert {name, {:ok, term}} = {name, Messages.term(bytes, @limit)}
      # The worker writes `nil`; `undefined` is for peers that know no other null.
      assert {name, if(term == :undefined, do: nil, else: term)} == {name, value}
      assert {name, JsonTerm.check(value)} == {name, :ok}
      assert {name, {:ok, value}} == {name, Messages.term(Messages.encode(value), @limit)}
    end
  end

  test "terms that hold no JSON are refused" do
    for {name, bytes, _} <- vectors("etf/refused") do
      answer = with {:ok, term} <- Messages.term(bytes, @limit), do: JsonTerm.check(term)
      assert {^name, {:error, _text}} = {name, answer}
    end
  end

  test "streams are cut into the same frames in any chunks" do
    for {name, bytes, %{"packet" => 4} = vector} <- vectors("link/frames"), size <- 1..8 do
      {frames, error?} = cut(Framing.new(vector["max_frame_bytes"]), chunks(bytes, size), [])
      frames = Enum.map(frames, &hex/1)
      assert {name, frames, error?} == {name, vector["frames"], vector["error"]}
    end
  end

  test "messages are read" do
    for {name, bytes, %{"message" => message}} <- vectors("link/messages") do
      case Messages.decode(bytes, @limit) do
        {:ok, read} ->
          assert {name, readable(read)} == {name, Map.drop(message, ["context"])}

        # A function nobody registered may have a name that is no atom here.
        {:error, {:undecodable, :call, id, _}} ->
          assert {name, "call", "#{id}"} == {name, message["type"], message["id"]}
          assert message["function"] not in ["handle", "ping"]
      end
    end
  end

  test "what is no message fails its call, or nothing; what is no term closes the link" do
    for {name, bytes, %{"id" => id, "type" => type}} <- vectors("link/refused") do
      session = Session.new(max_frame_bytes: @limit, max_in_flight: 8)
      # The calls 1 to 5.
      session =
        Enum.reduce(1..5, session, fn n, session ->
          {:ok, session, _} = Session.call(session, :ping, [], n, :never)
          session
        end)

      {:ok, _, [action]} = Session.feed(session, IO.iodata_to_binary(Framing.frame(bytes)))

      case {id, type} do
        {nil, nil} ->
          expected = if match?(<<131, _::binary>>, bytes), do: :defect, else: :close
          assert {name, expected} == {name, elem(action, 0)}

        {"5", "call"} ->
          assert {^name, {:send, frame}} = {name, action}
          <<_::32, body::binary>> = IO.iodata_to_binary(frame)
          assert {:e, 5, {:elixir, _, _, []}} = :erlang.binary_to_term(body)

        {"5", _answer} ->
          assert {^name, {:answered, 5, _}} = {name, action}
      end
    end
  end

  defp hex({:oversized, head, _size}), do: hex(head)
  defp hex(frame), do: Base.encode16(frame, case: :lower)

  defp cut(_reader, [], frames), do: {frames, false}

  defp cut(reader, [chunk | chunks], frames) do
    case reader |> Framing.feed(chunk) |> Framing.take() do
      {:ok, more, reader} -> cut(reader, chunks, frames ++ more)
      {:error, _text, more} -> {frames ++ more, true}
    end
  end

  defp chunks(bytes, size) do
    bytes |> :binary.bin_to_list() |> Enum.chunk_every(size) |> Enum.map(&:binary.list_to_bin/1)
  end

  defp readable({:call, id, module, function, args}) do
    %{
      "type" => "call",
      "id" => "#{id}",
      "module" => "#{module}",
      "function" => "#{function}",
      "args" => args
    }
  end

  defp readable({:result, id, result}), do: value(result, %{"type" => "result", "id" => "#{id}"})

  defp readable({:cast, to, message}),
    do: value(message, %{"type" => "cast", "to" => "#{to}"})

  defp readable({:error, id, {language, class, value, stacktrace}}) do
    %{
      "type" => "failure",
      "id" => "#{id}",
      "language" => "#{language}",
      "class" => "#{class}",
      "value" => value,
      "stacktrace" => stacktrace
    }
  end

  defp value(atom, message) when is_atom(atom) and atom not in [nil, true, false],
    do: Map.put(message, "atom", "#{atom}")

  defp value(value, message), do: Map.put(message, "value", value)
end
