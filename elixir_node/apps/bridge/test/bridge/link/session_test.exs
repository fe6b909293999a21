defmodule Bridge.Link.SessionTest do
  use ExUnit.Case, async: true

  import Bridge.Test.Node, only: [call_map: 0, call_map: 1]

  alias Bridge.Link.{Framing, Messages, Session}

  @hello %{"protocol" => 1, "worker" => "w", "pid" => 7}

  defp session(limits \\ []) do
    Session.new(Keyword.merge([max_frame_bytes: 10_000, max_in_flight: 2], limits))
  end

  defp frames(terms) do
    terms
    |> Enum.map(&Framing.frame(:erlang.term_to_binary(&1)))
    |> IO.iodata_to_binary()
  end

  defp feed(session, terms) do
    {:ok, session, actions} = Session.feed(session, frames(terms))
    {session, Enum.map(actions, &readable/1)}
  end

  defp readable({:send, frame}) do
    <<size::32, body::binary-size(size)>> = IO.iodata_to_binary(frame)
    {:send, :erlang.binary_to_term(body)}
  end

  defp readable(other), do: other

  defp greeted(limits \\ []) do
    {:ok, session, _} = Session.hello(session(limits), %{}, 10)
    {session, [{:greeted, _}]} = feed(session, [{:r, 1, @hello}])
    session
  end

  defp fault(kind, message), do: %{"fault" => %{"kind" => kind, "message" => message}}

  test "a call is paired with its answer, in whatever order they come" do
    {:ok, session, [send_a]} = Session.call(session(), :drain, [%{}], :a, 10)
    {:ok, session, [send_b]} = Session.call(session, :drain, [], :b, 10)
    assert readable(send_a) == {:send, {:C, 1, :bridge, :drain, [%{}]}}
    assert readable(send_b) == {:send, {:C, 2, :bridge, :drain, []}}
    {session, actions} = feed(session, [{:r, 2, :ok}, {:e, 1, {:python, :crashed, "x", []}}])

    assert actions == [
             {:answered, :b, {:ok, :ok}},
             {:answered, :a, {:error, {:python, :crashed, "x", []}}}
           ]

    assert session.calls == %{}
  end

  test "a call ends at its deadline, and its late answer goes nowhere" do
    {:ok, session, _} = Session.call(session(), :ping, [], :first, 10)
    {:ok, session, _} = Session.call(session, :ping, [], :second, 20)
    assert {:ok, ^session, []} = Session.expire(session, 9)
    {:ok, session, actions} = Session.expire(session, 10)
    assert actions == [{:answered, :first, {:error, :deadline}}]

    assert {session, [{:answered, :second, {:ok, :pong}}]} =
             feed(session, [{:r, 1, :pong}, {:r, 2, :pong}])

    assert {^session, []} = feed(session, [{:r, 2, :pong}, {:r, 99, :pong}, {:e, 98, :x}])
  end

  test "unanswered calls are bounded" do
    {:ok, session, _} = Session.call(session(), :ping, [], :a, 10)
    {:ok, session, _} = Session.call(session, :ping, [], :b, 10)

    assert {:ok, ^session, [{:answered, :c, {:error, :overloaded}}]} =
             Session.call(session, :ping, [], :c, 10)
  end

  test "a ping is answered at once, also before hello was answered" do
    assert {_, [{:send, {:r, 5, :pong}}]} = feed(session(), [{:C, 5, :bridge, :ping, [], :N}])
  end

  test "the worker's calls are refused until it has answered hello, not one longer" do
    call = &{:C, &1, :bridge, :handle, [call_map()], :N}
    {:ok, session, [hello]} = Session.hello(session(), %{"node" => "n"}, 10)
    assert readable(hello) == {:send, {:C, 1, :bridge, :hello, [%{"node" => "n"}]}}

    assert {_, actions} = feed(session, [call.(8), {:r, 1, @hello}, call.(9)])

    assert [
             {:send, {:e, 8, {:elixir, :no_hello, "handle before hello was answered", []}}},
             {:greeted, @hello},
             {:handle, 9, %{"key" => "k"}}
           ] = actions
  end

  test "an answer to hello that is not as agreed refuses the link" do
    for {answer, reason} <- [
          {{:r, 1, %{@hello | "protocol" => 2}}, "hello: expected protocol 1 and a worker"},
          {{:r, 1, nil}, "hello: expected protocol 1 and a worker"},
          {{:e, 1, "no"}, "no"}
        ] do
      {:ok, session, _} = Session.hello(session(), %{}, 10)
      assert {%{open?: false}, [{:refused, ^reason}]} = feed(session, [answer])
    end

    {:ok, session, _} = Session.hello(session(), %{}, 10)
    assert {:ok, %{open?: false}, [{:refused, :deadline}]} = Session.expire(session, 10)
  end

  test "an outcome is the answer to its call, as a term or as its bytes" do
    call = &{:C, &1, :bridge, :handle, [call_map()], :N}
    {session, [_, _]} = feed(greeted(), [call.(1), call.(2)])
    outcome = %{"ok" => %{"reply" => 1, "effects" => [], "state" => nil}}
    {:ok, session, [bytes]} = Session.answer(session, 2, Messages.encode(outcome))
    {:ok, session, [term]} = Session.answer(session, 1, outcome)
    assert readable(bytes) == {:send, {:r, 2, outcome}}
    assert readable(term) == {:send, {:r, 1, outcome}}
    assert session.handling == 0
  end

  test "calls at work are bounded, and one that is answered makes room" do
    call = &{:C, &1, :bridge, :handle, [call_map()], :N}
    {session, actions} = feed(greeted(), [call.(1), call.(2), call.(3)])
    text = "2 calls on the link, limit is 2"
    assert [{:handle, 1, _}, {:handle, 2, _}, {:send, {:r, 3, refused}}] = actions
    assert refused == fault("overloaded", text)
    {:ok, session, _} = Session.answer(session, 1, %{})
    assert {_, [{:handle, 4, _}]} = feed(session, [call.(4)])
  end

  test "an answer larger than a frame becomes a fault" do
    {session, [_]} = feed(greeted(), [{:C, 1, :bridge, :handle, [call_map()], :N}])
    outcome = Messages.encode(%{"ok" => %{"reply" => :binary.copy("x", 10_000)}})
    {:ok, _, [send]} = Session.answer(session, 1, outcome)
    assert {:send, {:r, 1, %{"fault" => fault}}} = readable(send)
    assert %{"kind" => "not_serialisable", "message" => text} = fault
    assert text =~ ~r/^an answer of 100\d\d bytes, the link's limit is 10000$/
  end

  test "only registered functions are called" do
    for {module, function, args, text} <- [
          {:erlang, :halt, [], "no function erlang:halt/0 is registered"},
          {:bridge, :halt, [], "no function bridge:halt/0 is registered"},
          {:bridge, :ping, [1], "no function bridge:ping/1 is registered"}
        ] do
      assert {_, [{:send, {:e, 1, {:elixir, :unknown_function, ^text, []}}}]} =
               feed(greeted(), [{:C, 1, module, function, args, :N}])
    end
  end

  test "a call with a member missing or of another type is refused" do
    for {name, value} <- [{"key", 1}, {"timeout_ms", 0}, {"context", nil}, {"digest", nil}] do
      changes = %{name => value}

      assert {_, [{:send, {:e, 1, {:elixir, :bad_value, _, []}}}]} =
               feed(greeted(), [{:C, 1, :bridge, :handle, [call_map(changes)], :N}])
    end

    for arg <- [nil, [], Map.delete(call_map(), "state")] do
      assert {_, [{:send, {:e, 1, {:elixir, :bad_value, _, []}}}]} =
               feed(greeted(), [{:C, 1, :bridge, :handle, [arg], :N}])
    end
  end

  test "a frame that cannot be read fails its call, or nothing where it names none" do
    {:ok, session, _} = Session.call(greeted(), :ping, [], :mine, 10)
    unknown = <<119, 12, "unknown_atom">>
    call = <<131, 104, 6, 119, 1, ?C, 97, 8>> <> unknown
    answer = <<131, 104, 3, 119, 1, ?r, 97, 2>> <> unknown

    nobodys = <<131, 104, 3, 119, 1, ?r, 70, 1.5::float, 97, 1>>

    bytes =
      for frame <- [call, nobodys, answer, "nothing"],
          into: "",
          do: IO.iodata_to_binary(Framing.frame(frame))

    {:ok, session, actions} = Session.feed(session, bytes)

    assert [
             {:send, {:e, 8, {:elixir, :bad_term, _, []}}},
             {:defect, _},
             {:answered, :mine, {:error, {:undecodable, _}}},
             {:close, _}
           ] = Enum.map(actions, &readable/1)

    assert session.calls == %{}
  end

  test "messages without an answer are dropped" do
    assert {_, [{:defect, _}, {:defect, _}, {:defect, "printed: text"}]} =
             feed(greeted(), [{:M, :bridge, "other"}, {:e, "failed"}, {:P, ~c"text"}])
  end

  test "a frame beyond the limit costs its own call alone" do
    {:ok, session, _} = Session.call(greeted(), :echo, [], :mine, :never)
    large = :binary.copy("x", 20_000)
    [{id, _}] = Map.to_list(session.calls)

    {_, actions} =
      feed(session, [
        {:r, id, large},
        {:C, 7, :bridge, :handle, [large], :N},
        {:C, 8, :bridge, :ping, []}
      ])

    assert [
             {:answered, :mine, {:error, {:undecodable, "a frame of 200" <> _}}},
             {:send, {:e, 7, {:elixir, :bad_term, "a frame of 200" <> _, []}}},
             {:send, {:r, 8, :pong}}
           ] = actions
  end

  test "a stream that slipped closes the link" do
    assert {:ok, _, [{:close, "frame of 10001 bytes announced, limit is 10000"}]} =
             Session.feed(greeted(), <<10_001::32, ?a>>)
  end

  test "one wake-up's frames give the same actions in any chunks" do
    terms = for id <- 1..20, do: {:C, id, :bridge, :ping, [], :N}
    bytes = frames(terms)
    {_, whole} = feed(greeted(), terms)

    for size <- 1..60 do
      {_, actions} =
        bytes
        |> :binary.bin_to_list()
        |> Enum.chunk_every(size)
        |> Enum.reduce({greeted(), []}, fn chunk, {session, actions} ->
          {:ok, session, more} = Session.feed(session, :binary.list_to_bin(chunk))
          {session, actions ++ Enum.map(more, &readable/1)}
        end)

      assert actions == whole
    end
  end

  test "what the peer tells of a topic is handed on; another message of its own is a defect" do
    {session, actions} = feed(greeted(), [{:M, :bridge, ["edge", "counter:a", 0, "expel"]}])
    assert actions == [{:heard, "counter:a", [0, "expel"]}]

    {_session, actions} = feed(session, [{:M, :bridge, ["edge", 1]}, {:M, :bridge, "other"}])
    assert actions == List.duplicate({:defect, "an unknown message was dropped"}, 2)
  end
end
