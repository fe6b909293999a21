defmodule Bridge.Alive do
  @moduledoc """
  Tells whoever supervises the node that it still answers: a line each second on a socket, or a file
  that is written again, whose age a health check looks at.

  It says so only after the node's workers process answered, so a node that hangs says nothing.
  """

  use GenServer

  alias Bridge.Workers

  @connect_ms 2_000

  @type option ::
          {:path, Path.t()}
          | {:file, Path.t()}
          | {:node, String.t()}
          | {:workers, GenServer.server()}
          | {:reload, (String.t() -> {:ok, String.t()} | {:error, String.t()})}
          | {:interval_ms, pos_integer}
          | {:name, GenServer.name()}

  @doc "Connect to the socket at `path`, and again whenever that is lost; `\"\"` for none."
  @spec start_link([option]) :: GenServer.on_start()
  def start_link(options) do
    {named, options} = Keyword.split(options, [:name])
    GenServer.start_link(__MODULE__, Map.new(options), named)
  end

  @doc "Send `pid` each line that the other side writes, as `{:told, line}`; tell it of that."
  @spec join(GenServer.server(), pid) :: :ok
  def join(server, pid), do: GenServer.cast(server, {:join, pid})

  @doc "Write a line, before it returns."
  @spec say(GenServer.server(), String.t()) :: :ok
  def say(server, line), do: GenServer.call(server, {:say, line})

  @impl true
  def init(options) do
    send(self(), :say)
    none = fn _ -> {:error, "nothing can be loaded here"} end
    defaults = %{interval_ms: 1_000, socket: nil, path: "", file: "", joined: nil, reload: none}
    {:ok, Map.merge(defaults, options)}
  end

  @impl true
  def handle_cast({:join, pid}, state) do
    {:noreply, ready(%{state | joined: pid})}
  end

  @impl true
  def handle_call({:say, _line}, _from, %{socket: nil} = state), do: {:reply, :ok, state}
  def handle_call({:say, line}, _from, state), do: {:reply, :ok, send_line(state, line)}

  @impl true
  def handle_info(:say, state) do
    Process.send_after(self(), :say, state.interval_ms)
    {:noreply, if(answers?(state.workers), do: state |> write() |> say(), else: state)}
  end

  # It may take seconds, and this process is to tell meanwhile that the node answers.
  def handle_info({:tcp, _socket, ~s({"reload":") <> rest}, %{reload: reload} = state) do
    [subsystem | _] = String.split(rest, "\"", parts: 2)
    alive = self()
    spawn_link(fn -> say(alive, reloaded(subsystem, reload)) end)
    {:noreply, state}
  end

  def handle_info({:tcp, _socket, line}, %{joined: pid} = state) do
    if pid, do: send(pid, {:told, String.trim_trailing(line, "\n")})
    {:noreply, state}
  end

  def handle_info({:tcp_closed, socket}, %{socket: socket} = state) do
    {:noreply, %{state | socket: nil}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp reloaded(subsystem, reload) do
    {how, text} =
      try do
        reload.(subsystem)
      catch
        kind, reason -> {:error, Exception.format_banner(kind, reason)}
      end

    # There is no writer of JSON here, and the text is for people.
    legible = String.replace(text, ~r/["\\[:cntrl:]]/u, "'")
    ~s({"reloaded":"#{subsystem}","#{how}":"#{legible}"})
  end

  defp answers?(workers) do
    _ = Workers.ready?(workers)
    true
  catch
    :exit, _ -> false
  end

  defp write(%{file: ""} = state), do: state

  defp write(state) do
    _ = File.touch(state.file)
    state
  end

  defp say(%{path: ""} = state), do: state

  defp say(%{socket: nil} = state) do
    options = [:local, mode: :binary, packet: :line, active: true, send_timeout: @connect_ms]

    case connect(state.path, options) do
      {:ok, socket} ->
        %{state | socket: socket} |> send_line(~s({"node":"#{state.node}"})) |> ready()

      {:error, _} ->
        state
    end
  end

  defp say(state), do: send_line(state, ~s({"alive":true}))

  # Somebody serves clients here.
  defp ready(%{socket: socket, joined: pid} = state) when socket == nil or pid == nil, do: state
  defp ready(state), do: send_line(state, ~s({"ready":true}))

  defp send_line(state, line) do
    case :gen_tcp.send(state.socket, [line, ?\n]) do
      :ok ->
        state

      {:error, _} ->
        :gen_tcp.close(state.socket)
        %{state | socket: nil}
    end
  end

  defp connect(path, options) do
    :gen_tcp.connect({:local, path}, 0, options, @connect_ms)
  catch
    # A path over about 107 bytes.
    :exit, :badarg -> {:error, :badarg}
  end
end
