defmodule Bridge.Test.OsNode do
  @moduledoc """
  A whole node as a process of its own, started as `bridge up` starts it.
  """

  alias Bridge.Test.Peer

  @deadline_ms 20_000

  defstruct [:port, :os_pid, :stdin, log: ""]

  @doc "Start a node; `cat` before it keeps its standard input open until `end_input/1`."
  def start(environment) do
    elixir = System.find_executable("elixir")
    ebin = :code.lib_dir(:bridge) |> Path.join("ebin")
    command = ~s{exec "$0" --erl +Bi -pa "$1" -e "Bridge.Application.main()" 2>&1}

    port =
      Port.open({:spawn_executable, System.find_executable("sh")}, [
        :binary,
        :exit_status,
        args: ["-c", command, elixir, ebin],
        env: for({k, v} <- environment, do: {String.to_charlist(k), String.to_charlist(v)})
      ])

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    %__MODULE__{port: port, os_pid: os_pid}
  end

  @doc "Wait for the node to end; returns its exit status and all it printed."
  def await_end(%__MODULE__{port: port} = node) do
    receive do
      {^port, {:data, data}} -> await_end(%{node | log: node.log <> data})
      {^port, {:exit_status, status}} -> {status, node.log}
    after
      @deadline_ms -> raise "the node did not end; it printed:\n#{node.log}"
    end
  end

  @doc "Say whether a process is alive."
  def alive?(os_pid) do
    match?({_, 0}, System.cmd("kill", ["-0", "#{os_pid}"], stderr_to_stdout: true))
  end

  @doc "Return the environment of a node with `workers` test peers."
  def environment(listener, workers, more \\ %{}) do
    Peer.environment(
      listener,
      Map.merge(
        %{"BRIDGE_NODE_WORKERS" => "#{workers}", "BRIDGE_PYTHON" => Peer.python()},
        more
      )
    )
  end
end
