defmodule Bridge.Link.Scanner do
  @moduledoc """
  Connects to the workers that listen in a directory: those that run by themselves, and the
  orphans of a node that is gone.

  Orphans are offered to `Bridge.Workers`, and sent away where there are workers enough. The
  socket of a worker that died is removed: workers give a socket its name once they listen.
  """

  use GenServer

  alias Bridge.Link.Connection
  alias Bridge.Link.Transports.Socket
  alias Bridge.{Telemetry, Workers}

  @refused_ms 10_000
  # Between the two attempts after which nobody listens on a socket for certain.
  @again_ms 1_000

  @type option ::
          {:dir, Path.t()}
          | {:links, atom}
          | {:workers, GenServer.server()}
          | {:connection, [Connection.option()]}
          | {:interval_ms, pos_integer}

  @doc "Look for `*.sock` in `dir`, now and every `interval_ms`."
  @spec start_link([option]) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, Map.new(options))

  @doc "Return the link process of each path that has said hello."
  @spec links(GenServer.server()) :: %{Path.t() => pid}
  def links(scanner), do: GenServer.call(scanner, :links)

  @impl true
  def init(options) do
    send(self(), :scan)
    state = %{interval_ms: 500, again_ms: @again_ms, links: nil, open: %{}, left: %{}, dead: %{}}
    {:ok, state |> Map.merge(%{looked?: false}) |> Map.merge(options)}
  end

  @impl true
  def handle_call(:links, _from, state) do
    {:reply, for({path, %{hello: %{}} = link} <- state.open, into: %{}, do: {path, link.pid}),
     state}
  end

  @impl true
  def handle_info(:scan, state) do
    Process.send_after(self(), :scan, state.interval_ms)
    {:noreply, state |> connect() |> place()}
  end

  def handle_info({:link_up, pid, hello}, state) do
    {:noreply, state |> update(pid, &%{&1 | hello: hello}) |> place()}
  end

  def handle_info({:DOWN, _, :process, pid, reason}, state) do
    {path, link} = Enum.find(state.open, fn {_, link} -> link.pid == pid end)
    state = %{state | open: Map.delete(state.open, path)}

    case reason do
      {:shutdown, {:unreachable, :econnrefused}} ->
        {:noreply, state |> refused(path, link) |> place()}

      {:shutdown, {why, _}} when why in [:refused, :unreachable] ->
        {:noreply, state |> leave(path, link.file, @refused_ms) |> place()}

      _ ->
        if link.hello, do: Telemetry.emit(:link_down, %{peer: link.name, reason: reason})
        {:noreply, place(state)}
    end
  end

  defp refused(state, path, %{file: file, name: name}) do
    if state.dead[path] == file do
      _ = File.rm(path)
      Telemetry.emit(:socket_removed, %{peer: name})
      state
    else
      state = leave(state, path, file, state.again_ms)
      put_in(state.dead[path], file)
    end
  end

  defp leave(state, path, file, ms), do: put_in(state.left[path], {file, now_ms() + ms})

  defp connect(state) do
    found =
      for path <- Path.wildcard(Path.join(state.dir, "*.sock")),
          {:ok, %File.Stat{inode: inode, mtime: mtime}} <- [File.stat(path)],
          # They tell a worker's socket from that of a later one at the same path.
          do: {path, {inode, mtime}}

    paths = Enum.map(found, &elem(&1, 0))
    state = %{state | left: Map.take(state.left, paths), dead: Map.take(state.dead, paths)}

    Enum.reduce(found, state, fn {path, file}, state ->
      if Map.has_key?(state.open, path) or left?(state.left[path], file, now_ms()),
        do: state,
        else: open(state, path, file)
    end)
  end

  defp left?({file, until_ms}, file, now_ms), do: now_ms < until_ms
  defp left?(_, _file, _now_ms), do: false

  defp open(state, path, file) do
    name = Path.basename(path, ".sock")

    options =
      Keyword.merge(state.connection,
        name: name,
        owner: self(),
        transport: {Socket, path: path}
      )

    {:ok, pid} = DynamicSupervisor.start_child(state.links, {Connection, options})
    Process.monitor(pid)
    link = %{pid: pid, name: name, file: file, hello: nil, drained?: false}
    put_in(state.open[path], link)
  end

  # Orphans are adopted or sent away; what is missing then is started.
  defp place(state) do
    orphans =
      for {_, %{hello: %{"orphan" => true}, drained?: false} = link} <- state.open, do: link

    state =
      Enum.reduce(orphans, state, fn link, state ->
        if Workers.adopt(state.workers, link.pid, link.name) == :full and
             Workers.ready?(state.workers),
           do: drain(state, link),
           else: state
      end)

    if not state.looked? and Enum.all?(state.open, fn {_, link} -> link.hello end) do
      :ok = Workers.begin(state.workers)
      %{state | looked?: true}
    else
      state
    end
  end

  defp drain(state, link) do
    Telemetry.emit(:orphan_drains, %{peer: link.name})
    Connection.request(link.pid, :drain)
    update(state, link.pid, &%{&1 | drained?: true})
  end

  defp update(state, pid, function) do
    open =
      Map.new(state.open, fn
        {path, %{pid: ^pid} = link} -> {path, function.(link)}
        other -> other
      end)

    %{state | open: open}
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
