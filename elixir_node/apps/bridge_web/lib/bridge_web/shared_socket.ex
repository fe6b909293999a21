defmodule BridgeWeb.SharedSocket do
  @moduledoc """
  The gateway's listening socket as this node accepts on it: a transport of Thousand Island.

  `bridge up` holds the socket, the workers have it too: who accepts a connection serves it. Not to
  accept is enough to leave connections to the others; nobody is reset, as when a copy is closed.
  """

  @behaviour ThousandIsland.Transport

  alias ThousandIsland.Transports.TCP

  # How late acceptors notice that they are to accept, or no more.
  @look_ms 20

  @doc "Open the inherited descriptor; nothing is accepted yet."
  @spec open(non_neg_integer) :: :ok | {:error, term}
  def open(descriptor) do
    options = [
      fd: descriptor,
      mode: :binary,
      active: false,
      # Set again for all who share the socket.
      backlog: 2048,
      nodelay: true,
      send_timeout: 10_000,
      send_timeout_close: true
    ]

    with {:ok, socket} <- :gen_tcp.listen(0, options) do
      :persistent_term.put(__MODULE__, {socket, :atomics.new(1, [])})
    end
  end

  @doc "Accept connections from now on, or leave them to the others."
  @spec accept_connections(boolean) :: :ok
  def accept_connections(accepts?) do
    {_, flag} = :persistent_term.get(__MODULE__)
    :atomics.put(flag, 1, if(accepts?, do: 1, else: 0))
  end

  @impl true
  def listen(_port, _options) do
    {socket, _} = :persistent_term.get(__MODULE__)
    {:ok, socket}
  end

  @impl true
  def accept(socket) do
    {_, flag} = :persistent_term.get(__MODULE__)

    if :atomics.get(flag, 1) == 1 do
      with {:error, :timeout} <- :gen_tcp.accept(socket, @look_ms), do: accept(socket)
    else
      Process.sleep(@look_ms)
      accept(socket)
    end
  end

  @impl true
  defdelegate handshake(socket), to: TCP

  @impl true
  defdelegate upgrade(socket, options), to: TCP

  @impl true
  defdelegate controlling_process(socket, pid), to: TCP

  @impl true
  defdelegate recv(socket, length, timeout), to: TCP

  @impl true
  defdelegate send(socket, data), to: TCP

  @impl true
  defdelegate sendfile(socket, filename, offset, length), to: TCP

  @impl true
  defdelegate getopts(socket, options), to: TCP

  @impl true
  defdelegate setopts(socket, options), to: TCP

  @impl true
  defdelegate shutdown(socket, way), to: TCP

  @impl true
  defdelegate close(socket), to: TCP

  @impl true
  defdelegate sockname(socket), to: TCP

  @impl true
  defdelegate peername(socket), to: TCP

  @impl true
  defdelegate peercert(socket), to: TCP

  @impl true
  defdelegate secure?(), to: TCP

  @impl true
  defdelegate getstat(socket), to: TCP

  @impl true
  defdelegate negotiated_protocol(socket), to: TCP

  @impl true
  defdelegate connection_information(socket), to: TCP
end
