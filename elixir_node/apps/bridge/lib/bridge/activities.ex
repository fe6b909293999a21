defmodule Bridge.Activities do
  @moduledoc """
  Activities: functions with the outside world in them, which `call` effects ask for.

  Yours is a module with this behaviour. Each attempt is a process of its own, killed at the end of
  its time, when it is cancelled, when its heartbeat stays out, and with the link it was asked by.
  """

  use Supervisor

  alias Bridge.Activities.Attempt
  alias Bridge.{Keys, Telemetry}

  @type call :: %{
          idempotency_key: String.t(),
          attempt: pos_integer,
          key: String.t(),
          heartbeat: function,
          log: (String.t() -> :ok)
        }
  @type reply :: Bridge.Implementation.json()

  @doc """
  Do what the activity is for; raising, too, is a failed attempt, which may be made again.

  `idempotency_key` is the same in every attempt: give it to whatever you call. Where the contract
  has `heartbeat_ms`, call `heartbeat` that often. `{:error, :not_retryable, …}`: trying again is no
  use.
  """
  @callback perform(activity :: String.t(), request :: map, call) ::
              {:ok, reply}
              | {:error, message :: String.t()}
              | {:error, :not_retryable, message :: String.t()}
              | {:error, :not_retryable, message :: String.t(), detail :: map}

  @enforce_keys [:registry, :supervisor, :modules]
  defstruct [:registry, :supervisor, :modules]

  @type t :: %__MODULE__{registry: atom, supervisor: atom, modules: %{String.t() => module}}

  @doc "Name the processes under `name`; `modules` are the activities by subsystem."
  @spec new(atom, %{String.t() => module}) :: t
  def new(name, modules) do
    %__MODULE__{
      registry: Module.concat(name, Registry),
      supervisor: Module.concat(name, Supervisor),
      modules: modules
    }
  end

  @doc "Compile each file's one module with this behaviour; one that fails is reported, left out."
  @spec load(%{String.t() => Path.t()}) :: %{String.t() => module}
  def load(files) do
    for {name, path} <- files, module <- load_one(name, path), into: %{}, do: {name, module}
  end

  defp load_one(name, path) do
    case for {module, _} <- Code.compile_file(path), activities?(module), do: module do
      [module] -> [module]
      found -> refused(name, path, "expected one module of activities, got #{length(found)}")
    end
  rescue
    error -> refused(name, path, Exception.message(error))
  end

  defp refused(name, path, reason) do
    Telemetry.emit(:implementation_refused, %{subsystem: name, path: path, reason: reason})
    []
  end

  defp activities?(module) do
    behaviours = Keyword.get_values(module.module_info(:attributes), :behaviour)
    __MODULE__ in List.flatten(behaviours)
  end

  @spec start_link(t) :: Supervisor.on_start()
  def start_link(%__MODULE__{} = activities), do: Supervisor.start_link(__MODULE__, activities)

  @impl true
  def init(activities) do
    children = [
      {Registry, keys: :duplicate, name: activities.registry},
      {DynamicSupervisor, strategy: :one_for_one, name: activities.supervisor}
    ]

    Supervisor.init(children, strategy: :one_for_all)
  end

  @doc """
  Begin an attempt, of kind `activity`, or end those of an id, of kind `cancel`.

  What the caller receives is as of `Bridge.Keys.dispatch/2`. The attempt ends with the caller.
  """
  @spec dispatch(t, map) :: {:ok, reference} | {:error, map}
  def dispatch(%__MODULE__{} = activities, %{"kind" => "cancel", "context" => %{"id" => id}}) do
    for {pid, _} <- Registry.lookup(activities.registry, id), do: Attempt.cancel(pid)
    {:error, %{"ok" => %{"reply" => nil}}}
  end

  def dispatch(%__MODULE__{} = activities, %{"subsystem" => subsystem} = call) do
    case activities.modules do
      %{^subsystem => module} ->
        options = [registry: activities.registry, module: module, call: call, caller: self()]
        {:ok, pid} = DynamicSupervisor.start_child(activities.supervisor, {Attempt, options})
        ref = :erlang.monitor(:process, pid, alias: :reply_demonitor)
        send(pid, {:begin, ref})
        {:ok, ref}

      _ ->
        {:error, Keys.fault("unknown_subsystem", "no activities of #{subsystem} here")}
    end
  end
end
