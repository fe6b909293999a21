defmodule Bridge.Link.Transports.Socket do
  @chunks 16
  @chunk_bytes 65_536
  @connect_ms 2_000

  @moduledoc """
  A worker that runs by itself and listens on a Unix socket.

  Reading is bounded: the peer is asked for more after every #{@chunks} chunks.
  """

  @behaviour Bridge.Link.Transport

  @doc "Connect to the socket at `path:`."
  @impl true
  def open(options) do
    path = Keyword.fetch!(options, :path)

    options = [
      mode: :binary,
      packet: :raw,
      active: @chunks,
      buffer: @chunk_bytes,
      recbuf: @chunk_bytes * 4,
      sndbuf: @chunk_bytes * 4,
      # Closing does not wait for a peer that does not read.
      linger: {true, 0}
    ]

    :gen_tcp.connect({:local, path}, 0, [:local | options], @connect_ms)
  catch
    # A path over about 107 bytes.
    :exit, :badarg -> {:error, :badarg}
  end

  @impl true
  def write(socket, data), do: :gen_tcp.send(socket, data)

  @impl true
  def received(socket, message) do
    case message do
      {:tcp, ^socket, data} ->
        {:data, data}

      {:tcp_passive, ^socket} ->
        _ = :inet.setopts(socket, active: @chunks)
        :again

      {:tcp_closed, ^socket} ->
        {:closed, "worker closed its end"}

      {:tcp_error, ^socket, reason} ->
        {:closed, reason}

      _ ->
        :other
    end
  end

  # The kernel's word for who listens: SO_PEERCRED, LOCAL_PEERPID. 0 is another namespace's.
  @impl true
  def os_pid(socket) do
    {level, option, size} = if :os.type() == {:unix, :darwin}, do: {0, 2, 4}, else: {1, 17, 12}

    case :inet.getopts(socket, [{:raw, level, option, size}]) do
      {:ok, [{:raw, _, _, <<pid::native-32, _::binary>>}]} when pid > 0 -> pid
      _ -> nil
    end
  end

  @impl true
  def close(socket), do: :gen_tcp.close(socket)
end
