defmodule BridgeWeb.Drainer do
  @moduledoc """
  Sends every client on, a batch at a time: when the endpoint stops, before it stops listening, and
  when the gateway moves away from this node.

  Each socket tells its topics `phx_error`, on which phoenix.js keeps new pushes back, answers what is
  in flight and closes with 1012: no push fails, and the client connects again.
  """

  use GenServer

  alias BridgeWeb.Gateway

  @batch 500
  @interval_ms 100

  @doc "Know the calling process as a client's socket."
  @spec register() :: :ok
  def register do
    {:ok, _} = Registry.register(__MODULE__.Sockets, :socket, nil)
    :ok
  end

  @doc "Return how many sockets are open."
  @spec count() :: non_neg_integer
  def count, do: Registry.count(__MODULE__.Sockets)

  @doc false
  def child_spec(drain_ms) do
    shutdown_ms = drain_ms + 30_000
    %{id: __MODULE__, start: {__MODULE__, :start_link, [drain_ms]}, shutdown: shutdown_ms}
  end

  @doc false
  def start_link(drain_ms), do: GenServer.start_link(__MODULE__, drain_ms)

  @impl true
  def init(drain_ms) do
    Process.flag(:trap_exit, true)
    {:ok, drain_ms}
  end

  @impl true
  def terminate(_reason, drain_ms) do
    :ok = Gateway.leave()
    send_on(drain_ms)
  end

  @doc "Send on who is here now, and return when they are gone."
  @spec send_on(non_neg_integer) :: :ok
  def send_on(drain_ms) do
    sockets = for {pid, _} <- Registry.lookup(__MODULE__.Sockets, :socket), do: pid
    monitors = Map.new(sockets, &{Process.monitor(&1), &1})

    for batch <- Enum.chunk_every(sockets, @batch) do
      for pid <- batch, do: send(pid, {BridgeWeb.SocketTransport, {:drain, drain_ms}})
      if length(batch) == @batch, do: Process.sleep(@interval_ms)
    end

    await(monitors)
  end

  defp await(monitors) when monitors == %{}, do: :ok

  defp await(monitors) do
    receive do
      {:DOWN, monitor, :process, _, _} -> await(Map.delete(monitors, monitor))
    end
  end
end
