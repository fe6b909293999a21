defmodule BridgeWeb.Topics do
  @moduledoc "The topics that somebody on this node follows: a process each, while there is somebody."

  use DynamicSupervisor

  alias BridgeWeb.{Topic, Workers}

  @attempts 5

  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    DynamicSupervisor.start_link(__MODULE__, options, name: __MODULE__)
  end

  @impl true
  def init(_options), do: DynamicSupervisor.init(strategy: :one_for_one)

  @doc "Have a worker judge a channel's join; the channel gets events from the answer on."
  @spec join(String.t(), map, Phoenix.Socket.t()) :: {:ok, map} | {:error, map}
  def join(topic, frame, socket) do
    member = %{
      socket: socket.transport_pid,
      serializer: socket.serializer,
      join_ref: socket.join_ref,
      topics: socket.assigns.topics,
      asked: %{"frame" => frame}
    }

    call(topic, {:join, self(), member}, @attempts)
  end

  @doc "Follow a topic for the calling process, which has subscribed to it: see `BridgeWeb.Fanout`."
  @spec follow(String.t()) :: {:ok, map} | {:error, map}
  def follow(topic) do
    call(topic, {:join, self(), %{socket: nil, asked: %{"since" => nil}}}, @attempts)
  end

  @doc "Say that the server sends a client on: others see it there until it is back."
  @spec sent_on(String.t(), pid) :: :ok
  def sent_on(topic, socket) do
    if pid = Bridge.Topics.whereis(topic), do: GenServer.cast(pid, {:sent_on, socket})
    :ok
  end

  @doc "Follow it no more."
  @spec unfollow(String.t()) :: :ok
  def unfollow(topic) do
    if pid = Bridge.Topics.whereis(topic), do: GenServer.cast(pid, {:leave, self()})
    :ok
  end

  defp call(_topic, _request, 0), do: {:error, Workers.none()}

  defp call(topic, request, attempts) do
    GenServer.call(whereis(topic), request, :infinity)
  catch
    # It ended because nobody was there, a moment ago.
    :exit, {reason, _} when reason in [:normal, :noproc, :shutdown] ->
      call(topic, request, attempts - 1)
  end

  defp whereis(topic) do
    with nil <- Bridge.Topics.whereis(topic) do
      case DynamicSupervisor.start_child(__MODULE__, {Topic, topic}) do
        {:ok, pid} -> pid
        {:error, {:already_started, pid}} -> pid
      end
    end
  end
end
