defmodule Bridge.Link.Transport do
  @moduledoc """
  What carries a link's bytes. The process that opens it receives them as messages.
  """

  @type t :: term
  @type options :: keyword

  @doc "Open it; the caller receives what arrives."
  @callback open(options) :: {:ok, t} | {:error, term}

  @doc "Write; may block for as long as the peer does not read. Called by one process at a time."
  @callback write(t, iodata) :: :ok | {:error, term}

  @doc "Read a message of the owner; `:other` is not the transport's."
  @callback received(t, message :: term) ::
              {:data, binary} | {:closed, term} | :again | :other

  @doc "Return the peer's process id, where it is known and this node may send it a signal."
  @callback os_pid(t) :: pos_integer | nil

  @doc "Close it, also while a write blocks."
  @callback close(t) :: :ok
end
