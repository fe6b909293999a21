defmodule BridgeWeb.TopicChannel do
  @moduledoc """
  One client on one topic: hands joins and pushes to a worker, as they came.

  Events do not pass here: `BridgeWeb.Fanout` encodes each once and sends it to the sockets.
  """

  use BridgeWeb, :channel

  alias BridgeWeb.{Fanout, Pushes, Topics}

  @impl true
  def join(topic, frame, socket) do
    :ok = Fanout.subscribe(topic, socket)

    case Topics.join(topic, frame, socket) do
      {:ok, response} -> {:ok, response, socket}
      {:error, error} -> {:error, error}
    end
  end

  @impl true
  def handle_in(_operation, frame, socket) do
    :ok = Pushes.push(reference(socket), frame)
    {:noreply, socket}
  end

  # Not by {:stop, ...}, which would tell the client `phx_close`: it is to join again.
  @impl true
  def handle_info(:expel, _socket), do: exit({:shutdown, :expelled})
  def handle_info(_other, socket), do: {:noreply, socket}

  # As `socket_ref/1`, which does not take a push without ref: it is answered with null.
  defp reference(socket) do
    {socket.transport_pid, socket.serializer, socket.topic, socket.ref, socket.join_ref}
  end
end
