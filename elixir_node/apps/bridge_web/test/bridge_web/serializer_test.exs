defmodule BridgeWeb.SerializerTest do
  use ExUnit.Case, async: true

  alias BridgeWeb.Serializer.{V1, V2}
  alias Phoenix.Socket.{Broadcast, Message, Reply}

  # The frames that every codec is held to.
  @vectors Path.expand("../../../../../contracts/vectors/channels/frames.json", __DIR__)
           |> File.read!()
           |> Jason.decode!()

  defp serializer("1" <> _), do: V1
  defp serializer("2" <> _), do: V2

  test "the head is read of every frame in the vectors, and the whole goes on as it came" do
    for %{"vsn" => vsn, "text" => text, "frame" => frame} <- @vectors["text"] do
      message = serializer(vsn).decode!(text, opcode: :text)

      assert %Message{payload: %{"vsn" => ^vsn, "text" => ^text}} = message

      for {name, field} <- %{"ref" => :ref, "topic" => :topic, "event" => :event} do
        assert Map.fetch!(message, field) == frame[name], text
      end

      assert message.join_ref == frame["join_ref"]
    end
  end

  test "a head may be written in other ways" do
    for text <- [
          ~s([ null , "1", "counter:a", "add", {}]),
          ~s([null,"1","counter:\\u0061","add",{}]),
          ~s([null,"1","counter:a","add",[1,[2,"]"]]])
        ] do
      assert %Message{join_ref: nil, ref: "1", topic: "counter:a", event: "add"} =
               V2.decode!(text, opcode: :text)
    end
  end

  test "what has no head is for the worker to refuse" do
    for text <- [
          "",
          "nothing",
          "{}",
          "[1,2,3]",
          "[null,null,1,\"add\",{}]",
          "[null,{},\"t\",\"e\",{}]"
        ] do
      assert V2.decode!(text, opcode: :text) == {:unreadable, %{"vsn" => "2.0.0", "text" => text}}
    end

    assert {:unreadable, %{"base64" => _}} = V2.decode!(<<0, 9, 9, 9, 9, 1>>, opcode: :binary)
    assert {:unreadable, %{"base64" => _}} = V2.decode!(<<1, 0, 0, 0, 0>>, opcode: :binary)
  end

  test "a binary push" do
    data = <<0, 1, 1, 9, 6, "1", "2", "counter:a", "upload", 0, 255>>
    base64 = Base.encode64(data)

    assert %Message{join_ref: "1", ref: "2", topic: "counter:a", payload: %{"base64" => ^base64}} =
             V2.decode!(data, opcode: :binary)
  end

  test "JSON of the worker is put into its frame unread" do
    payload = BridgeWeb.Serializer.json(~s({"n":1.50}))
    event = %Broadcast{topic: "t", event: "e", payload: payload}
    assert {:socket_push, :text, frame} = V2.fastlane!(event)
    assert IO.iodata_to_binary(frame) == ~s([null,null,"t","e",{"n":1.50}])

    reply = %Reply{join_ref: "1", ref: 2, topic: "t", status: :ok, payload: payload}
    assert {:socket_push, :text, frame} = V1.encode!(reply)

    assert Jason.decode!(frame) == %{
             "topic" => "t",
             "event" => "phx_reply",
             "ref" => 2,
             "payload" => %{"status" => "ok", "response" => %{"n" => 1.5}}
           }
  end

  test "a join without join_ref is known by its ref, but answered without" do
    join = %Reply{join_ref: {:ref, "1"}, ref: "1", topic: "t", status: :ok, payload: %{}}
    assert {:socket_push, :text, frame} = V2.encode!(join)
    assert [nil, "1", "t", "phx_reply", _] = Jason.decode!(frame)

    assert {:socket_push, :text, frame} = V2.encode!(%{join | ref: "2"})
    assert ["1", "2", "t", "phx_reply", _] = Jason.decode!(frame)

    close = %Message{join_ref: {:ref, "1"}, ref: {:ref, "1"}, topic: "t", event: "phx_close"}
    assert {:socket_push, :text, frame} = V2.encode!(%{close | payload: %{}})
    assert ["1", "1", "t", "phx_close", %{}] = Jason.decode!(frame)
  end
end
