defmodule Bridge.Topics do
  @moduledoc """
  Who is up among the gateway workers, and which process of this node serves a topic.

  The web part asks any worker that is up, and again another one when that is gone: what it may ask
  is in `bridge/edge/node.py`. What a worker tells of a topic goes to the process registered for it,
  as `{:told, link, message}`.
  """

  @workers __MODULE__.Workers
  @topics __MODULE__.Registry

  @doc false
  def child_spec(_options) do
    children = [
      {Registry, keys: :duplicate, name: @workers},
      {Registry, keys: :unique, name: @topics, partitions: System.schedulers_online()}
    ]

    options = [strategy: :one_for_one, name: __MODULE__]

    %{
      id: __MODULE__,
      start: {Supervisor, :start_link, [children, options]},
      type: :supervisor
    }
  end

  @doc "Return the name under which a topic's process is registered."
  @spec name(String.t()) :: GenServer.name()
  def name(topic), do: {:via, Registry, {@topics, topic}}

  @doc "Return the process of a topic."
  @spec whereis(String.t()) :: pid | nil
  def whereis(topic) do
    case Registry.lookup(@topics, topic) do
      [{pid, _}] -> pid
      [] -> nil
    end
  end

  @doc "Return the links of the workers that are up, by worker."
  @spec workers() :: [{worker :: String.t(), pid}]
  def workers do
    for {link, worker} <- Registry.lookup(@workers, :up), do: {worker, link}
  end

  @doc """
  Choose the worker of a topic: the same one for as long as it is up, whoever else comes or goes.

  By the highest random weight (Thaler and Ravishankar, 1998). Links in `but` are passed over where
  there are others.
  """
  @spec worker_of(String.t(), [pid]) :: pid | nil
  def worker_of(topic, but \\ []) do
    up = workers()
    others = Enum.reject(up, fn {_, link} -> link in but end)

    case if(others == [], do: up, else: others) do
      [] ->
        nil

      some ->
        some |> Enum.max_by(fn {worker, _} -> :erlang.phash2({topic, worker}) end) |> elem(1)
    end
  end

  @doc false
  def worker_up(worker) do
    {:ok, _} = Registry.register(@workers, :up, worker)
    :ok
  end

  @doc false
  def tell(topic, message) do
    if pid = whereis(topic), do: send(pid, {:told, self(), message})
    :ok
  end
end
