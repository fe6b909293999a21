defmodule BridgeWeb.Gateway do
  @moduledoc """
  Serves at the gateway's own address, as far as `bridge up` says so: it told the node which
  descriptor that is, and tells it when to accept and when to send its clients on.
  """

  use GenServer

  alias Bridge.Alive
  alias BridgeWeb.{Drainer, Settings, SharedSocket}

  @again_ms 100

  @doc false
  def start_link(descriptor), do: GenServer.start_link(__MODULE__, descriptor, name: __MODULE__)

  @impl true
  def init(descriptor) do
    # The socket is this process's: it outlives whoever accepts on it.
    with :ok <- SharedSocket.open(descriptor) do
      Process.flag(:trap_exit, true)
      {:ok, nil, {:continue, :join}}
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  @impl true
  def handle_continue(:join, state), do: {:noreply, join(state)}

  @impl true
  def handle_info({:told, ~s({"accept":true})}, state), do: accept(true, state)
  def handle_info({:told, ~s({"accept":false})}, state), do: accept(false, state)

  def handle_info({:told, ~s({"send_on":true})}, state) do
    # Not here: who accepts may have to change meanwhile.
    {:ok, _} = Task.start(fn -> Drainer.send_on(:persistent_term.get(Settings).drain_ms) end)
    {:noreply, state}
  end

  def handle_info({:DOWN, monitor, :process, _, _}, monitor) do
    Process.send_after(self(), :join, @again_ms)
    {:noreply, nil}
  end

  def handle_info(:join, state), do: {:noreply, join(state)}
  def handle_info(_other, state), do: {:noreply, state}

  @doc "Accept no more: the node stops, and the workers are to accept."
  @spec leave() :: :ok
  def leave do
    if Process.whereis(__MODULE__) do
      :ok = SharedSocket.accept_connections(false)
      Alive.say(Alive, ~s({"ready":false}))
    end

    :ok
  end

  defp join(_monitor) do
    if alive = Process.whereis(Alive) do
      :ok = Alive.join(Alive, self())
      Process.monitor(alive)
    else
      Process.send_after(self(), :join, @again_ms)
      nil
    end
  end

  defp accept(accepts?, state) do
    :ok = SharedSocket.accept_connections(accepts?)
    {:noreply, state}
  end
end
