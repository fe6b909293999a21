defmodule Bridge.Test.Peer do
  @moduledoc """
  A real worker process that does what a test tells it to; see `peer/bridge/gateway.py`.
  """

  @deadline_ms 20_000
  @package Path.expand("peer", __DIR__)

  defstruct [:control, :os_pid, :hello]

  @doc "Listen for peers; `environment/1` tells them where."
  def listen do
    options = [:binary, packet: 4, active: false, ip: {127, 0, 0, 1}, backlog: 64]
    {:ok, listener} = :gen_tcp.listen(0, options)
    listener
  end

  @doc "Return the interpreter itself: a wrapper found on the path may take longer to start."
  def python do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      {path, 0} = System.cmd("python3", ["-c", "import sys; print(sys.executable)"])
      :ok = :persistent_term.put(__MODULE__, String.trim(path))
      String.trim(path)
    end
  end

  @doc "Return the variables a peer is started with."
  def environment(listener, more \\ %{}) do
    {:ok, port} = :inet.port(listener)
    Map.merge(%{"PEER_CONTROL" => "#{port}", "PYTHONPATH" => @package}, more)
  end

  @doc "Wait for the next peer that was told hello."
  def accept(listener) do
    {:ok, control} = :gen_tcp.accept(listener, @deadline_ms)
    {:hello, os_pid, hello} = read(control)
    %__MODULE__{control: control, os_pid: os_pid, hello: hello}
  end

  @doc "Tell a peer to do something and return what came of it."
  def tell(peer, command) do
    :ok = :gen_tcp.send(peer.control, :erlang.term_to_binary(command))
    read(peer.control)
  end

  @doc "Have a peer call the node, and return the node's answer."
  def call(peer, function, args) do
    {:answer, answer} = tell(peer, {:call, function, args})
    answer
  end

  @doc "Have a peer call `handle` and return the outcome."
  def handle(peer, call) do
    {:r, _, outcome} = call(peer, :handle, [call])
    outcome
  end

  @doc "Wait until a peer is gone, or does nothing more on its control connection."
  def await_end(peer), do: {:error, :closed} = :gen_tcp.recv(peer.control, 0, @deadline_ms)

  @doc "Send a signal to a process of the operating system."
  def signal(os_pid, name) do
    {_, 0} = System.cmd("kill", ["-#{name}", "#{os_pid}"])
    :ok
  end

  @doc "Start a peer that listens at `path`, as a worker without a node does."
  def start_listening(python, listener, path, flags \\ []) do
    env =
      for {name, value} <- environment(listener),
          do: {String.to_charlist(name), String.to_charlist(value)}

    args = ["-u", "-m", "bridge.gateway", "--socket", path | flags]

    Port.open({:spawn_executable, python}, [
      :binary,
      :exit_status,
      args: args,
      env: env,
      cd: System.tmp_dir!()
    ])
  end

  defp read(control) do
    {:ok, frame} = :gen_tcp.recv(control, 0, @deadline_ms)
    :erlang.binary_to_term(frame)
  end
end
