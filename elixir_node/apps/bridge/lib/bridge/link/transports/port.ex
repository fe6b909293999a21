defmodule Bridge.Link.Transports.Port do
  @moduledoc """
  A worker as a child of the node, on its descriptors 3 and 4: 1 and 2 are free for its prints.

  Raw, because `{packet, 4}` reserves whatever length is announced. The busy limits keep the
  driver's queue short: a long one of small frames is quadratic in it. The queue of the port's
  own messages is not limited, since only one process writes.
  """

  @behaviour Bridge.Link.Transport

  @enforce_keys [:port, :os_pid]
  defstruct [:port, :os_pid]

  @doc "Start `command` (`executable:`, `args:`, `env:` with `nil` for what to take away)."
  @impl true
  def open(options) do
    with {:ok, executable} <- find(Keyword.fetch!(options, :executable)) do
      port =
        Port.open({:spawn_executable, executable}, [
          :nouse_stdio,
          :stream,
          :binary,
          :exit_status,
          :eof,
          args: Keyword.fetch!(options, :args),
          env: for({name, value} <- Keyword.get(options, :env, []), do: pair(name, value)),
          busy_limits_port: {65_536, 262_144},
          busy_limits_msgq: :disabled
        ])

      case Port.info(port, :os_pid) do
        {:os_pid, os_pid} -> {:ok, %__MODULE__{port: port, os_pid: os_pid}}
        nil -> {:error, :exited}
      end
    end
  rescue
    error in ErlangError -> {:error, error.original}
  end

  @impl true
  def write(%__MODULE__{port: port}, data) do
    Port.command(port, data)
    :ok
  rescue
    ArgumentError -> {:error, :closed}
  end

  @impl true
  def received(%__MODULE__{port: port}, message) do
    case message do
      {^port, {:data, data}} -> {:data, data}
      {^port, {:exit_status, status}} -> {:closed, "worker left with status #{status}"}
      # A grandchild that holds the descriptors delays the status; the end of file decides.
      {^port, :eof} -> {:closed, "worker closed its end"}
      {:EXIT, ^port, reason} -> {:closed, reason}
      _ -> :other
    end
  end

  @impl true
  def os_pid(%__MODULE__{os_pid: os_pid}), do: os_pid

  @impl true
  def close(%__MODULE__{port: port}) do
    Port.close(port)
    :ok
  rescue
    ArgumentError -> :ok
  end

  defp find(executable) do
    case System.find_executable(executable) do
      nil -> {:error, "#{executable}: not found"}
      path -> {:ok, path}
    end
  end

  defp pair(name, nil), do: {String.to_charlist(name), false}
  defp pair(name, value), do: {String.to_charlist(name), String.to_charlist(value)}
end
