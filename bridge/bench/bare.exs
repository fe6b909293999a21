# The peer of `bridge bench edges`: a Phoenix channel that makes one call to a port. PORT PYTHON

defmodule Bare.Echo do
  use GenServer

  @program """
  import sys
  read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
  while head := read(4):
      write(head + read(int.from_bytes(head, "big")))
      sys.stdout.buffer.flush()
  """

  def start_link(python), do: GenServer.start_link(__MODULE__, python, name: __MODULE__)
  def call(term), do: GenServer.call(__MODULE__, term)

  @impl true
  def init(python) do
    options = [:binary, packet: 4, args: ["-u", "-c", @program]]
    {:ok, {Port.open({:spawn_executable, python}, options), :queue.new()}}
  end

  @impl true
  def handle_call(term, from, {port, waiting}) do
    Port.command(port, :erlang.term_to_binary(term))
    {:noreply, {port, :queue.in(from, waiting)}}
  end

  @impl true
  def handle_info({port, {:data, data}}, {port, waiting}) do
    {{:value, from}, waiting} = :queue.out(waiting)
    GenServer.reply(from, :erlang.binary_to_term(data))
    {:noreply, {port, waiting}}
  end
end

defmodule Bare.Channel do
  use Phoenix.Channel, log_join: false, log_handle_in: false

  @impl true
  def join(_topic, _params, socket), do: {:ok, %{}, socket}

  @impl true
  def handle_in(event, payload, socket) do
    {:reply, {:ok, Bare.Echo.call(%{"event" => event, "payload" => payload, "n" => 0})}, socket}
  end
end

defmodule Bare.Socket do
  use Phoenix.Socket, log: false

  channel "bench:*", Bare.Channel

  @impl true
  def connect(_params, socket, _info), do: {:ok, socket}

  @impl true
  def id(_socket), do: nil
end

defmodule Bare.Endpoint do
  use Phoenix.Endpoint, otp_app: :bare

  socket "/socket", Bare.Socket, websocket: [check_origin: false], longpoll: false
end

[port, python] = System.argv()
Application.put_env(:logger, :default_handler, false)
Application.put_env(:phoenix, :logger, false)

Application.put_env(:bare, Bare.Endpoint,
  adapter: Bandit.PhoenixAdapter,
  http: [ip: {127, 0, 0, 1}, port: String.to_integer(port)],
  server: true,
  pubsub_server: Bare.PubSub,
  check_origin: false,
  secret_key_base: String.duplicate("b", 64)
)

{:ok, _} = Application.ensure_all_started([:phoenix, :bandit])

{:ok, _} =
  Supervisor.start_link(
    [{Phoenix.PubSub, name: Bare.PubSub}, {Bare.Echo, python}, Bare.Endpoint],
    strategy: :one_for_one
  )

Process.sleep(:infinity)
