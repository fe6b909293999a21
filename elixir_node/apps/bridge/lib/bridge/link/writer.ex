defmodule Bridge.Link.Writer do
  @moduledoc """
  The process that writes to a link, and that may be suspended while the peer does not read.

  Its owner hands over one batch at a time and is told `{Writer, :written}`; so nothing queues
  here, and the owner keeps its deadlines whatever the peer does.
  """

  @doc "Start the writer of an open transport, linked to the caller."
  @spec start_link(module, Bridge.Link.Transport.t()) :: pid
  def start_link(transport, state) do
    owner = self()
    spawn_link(fn -> loop(owner, transport, state) end)
  end

  @doc "Hand over a batch; only after the answer to the one before."
  @spec write(pid, iodata) :: :ok
  def write(writer, data) do
    send(writer, {:write, data})
    :ok
  end

  defp loop(owner, transport, state) do
    receive do
      {:write, data} ->
        case transport.write(state, data) do
          :ok ->
            send(owner, {__MODULE__, :written})
            loop(owner, transport, state)

          {:error, reason} ->
            send(owner, {__MODULE__, {:failed, reason}})
        end
    end
  end
end
