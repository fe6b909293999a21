defmodule Bridge.Keys do
  @moduledoc """
  The processes that run implementations: one per subsystem and key, started when first asked.

  Call `start_link/1` with a `new/3` value, then `dispatch/2` with the same one.
  """

  use Supervisor

  alias Bridge.Implementations.Served
  alias Bridge.Keys.{Server, Watch}

  @enforce_keys [:registry, :supervisor, :served, :watch, :implementations, :limits]
  defstruct [:registry, :supervisor, :served, :watch, :implementations, :limits]

  @type t :: %__MODULE__{
          registry: atom,
          supervisor: atom,
          served: Served.name(),
          watch: atom,
          implementations: Bridge.Implementations.all(),
          limits: Server.limits()
        }
  @type outcome :: map | binary

  @doc "Name the processes under `name` (an atom known beforehand); `limits` change the defaults."
  @spec new(atom, Bridge.Implementations.all(), keyword) :: t
  def new(name, implementations, limits \\ []) do
    %__MODULE__{
      registry: Module.concat(name, Registry),
      supervisor: Module.concat(name, Supervisor),
      served: Module.concat(name, Served),
      watch: Module.concat(name, Watch),
      implementations: implementations,
      limits: Map.merge(Server.default_limits(), Map.new(limits))
    }
  end

  @spec start_link(t) :: Supervisor.on_start()
  def start_link(%__MODULE__{} = keys) do
    # The caller's, so that what was loaded since is there after a restart.
    _ = Served.new(keys.served, keys.implementations)
    Supervisor.start_link(__MODULE__, keys)
  end

  @impl true
  def init(keys) do
    children = [
      {Watch, {keys.watch, keys.limits}},
      {Registry, keys: :unique, name: keys.registry, partitions: System.schedulers_online()},
      {DynamicSupervisor,
       strategy: :one_for_one, name: keys.supervisor, max_children: keys.limits.max_keys}
    ]

    Supervisor.init(children, strategy: :one_for_all)
  end

  @doc """
  Hand a call (see the link's `handle`) to its key's process.

  `{:ok, ref}`: the caller will receive either `{ref, outcome}`, with the outcome as bytes of
  `Bridge.Link.Messages.encode/1`, or `{:DOWN, ref, :process, _, reason}` when that process ended
  first; `:normal` and `:noproc` mean that it was idle and the call may be dispatched again.
  """
  @spec dispatch(t, map) :: {:ok, reference} | {:error, map}
  def dispatch(%__MODULE__{} = keys, %{"subsystem" => subsystem, "digest" => digest} = call) do
    case Served.fetch(keys.served, subsystem) do
      {:ok, {%{digest: ^digest}, _}} ->
        case find_or_start(keys, {subsystem, call["key"]}) do
          :max_children ->
            text = "#{keys.limits.max_keys} keys have a process, which is the limit"
            {:error, fault("overloaded", text)}

          server ->
            ref = :erlang.monitor(:process, server, alias: :reply_demonitor)
            send(server, {:handle, ref, call})
            {:ok, ref}
        end

      {:ok, {%{digest: ours}, _}} ->
        text = "#{subsystem}: the node's contract is #{ours}, the worker's #{digest}"
        {:error, fault("digest_mismatch", text)}

      :error ->
        {:error, fault("unknown_subsystem", "the node does not implement #{subsystem}")}
    end
  end

  @doc "Return a fault as an outcome."
  @spec fault(kind :: String.t(), String.t()) :: map
  def fault(kind, message), do: %{"fault" => %{"kind" => kind, "message" => message}}

  @doc "Return how many keys have a process now."
  @spec count(t) :: non_neg_integer
  def count(%__MODULE__{registry: registry}), do: Registry.count(registry)

  defp find_or_start(keys, id) do
    case Registry.lookup(keys.registry, id) do
      [{server, _}] -> server
      [] -> start(keys, id)
    end
  end

  defp start(keys, {subsystem, key} = id) do
    options = [
      name: {:via, Registry, {keys.registry, id}},
      subsystem: subsystem,
      key: key,
      served: keys.served,
      watch: keys.watch,
      limits: keys.limits
    ]

    case DynamicSupervisor.start_child(keys.supervisor, {Server, options}) do
      {:ok, server} -> server
      {:error, {:already_started, server}} -> server
      {:error, :max_children} -> :max_children
    end
  end
end
