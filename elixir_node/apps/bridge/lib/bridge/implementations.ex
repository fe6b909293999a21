defmodule Bridge.Implementations do
  @moduledoc """
  Which module implements which subsystem, and from which contract it was built.
  """

  alias Bridge.Telemetry

  @enforce_keys [:module, :digest]
  defstruct [:module, :digest]

  @type t :: %__MODULE__{module: module, digest: String.t()}
  @type all :: %{String.t() => t}

  @built_in %{
    "heartbeat" => Bridge.Subsystems.Heartbeat,
    "sessions" => Bridge.Subsystems.Sessions,
    "terminal" => Bridge.Subsystems.Terminal,
    "triage" => Bridge.Subsystems.Triage
  }

  @doc """
  Return the built-in implementations and those of the given files, by subsystem.

  A file that does not load, or whose contract's digest is not known, is left out and reported:
  its subsystem is then answered by another runtime.
  """
  @spec load(%{String.t() => Path.t()}, %{String.t() => String.t()}) :: all
  def load(files, digests) do
    contracts = Bridge.Generated.Contracts.all()

    built_in =
      for {name, module} <- @built_in,
          %{digest: digest} <- List.wrap(contracts[name]),
          into: %{} do
        {name, %__MODULE__{module: module, digest: digest}}
      end

    Enum.reduce(files, built_in, fn {name, path}, all ->
      with {:ok, digest} <- fetch_digest(digests, name),
           {:ok, module} <- compile(path) do
        Map.put(all, name, %__MODULE__{module: module, digest: digest})
      else
        {:error, reason} ->
          Telemetry.emit(:implementation_refused, %{subsystem: name, path: path, reason: reason})
          Map.delete(all, name)
      end
    end)
  end

  @doc "Return the digests to say hello with."
  @spec digests(all) :: %{String.t() => String.t()}
  def digests(all), do: Map.new(all, fn {name, %{digest: digest}} -> {name, digest} end)

  @doc "Compile a file and return its one module that implements `Bridge.Implementation`."
  @spec compile(Path.t()) :: {:ok, module} | {:error, String.t()}
  def compile(path) do
    case for {module, _} <- Code.compile_file(path), implementation?(module), do: module do
      [module] -> {:ok, module}
      modules -> {:error, "expected one Bridge.Implementation, got #{length(modules)}"}
    end
  rescue
    error -> {:error, Exception.message(error)}
  end

  defp fetch_digest(digests, name) do
    with :error <- Map.fetch(digests, name), do: {:error, "no digest in BRIDGE_ELIXIR_DIGESTS"}
  end

  defp implementation?(module) do
    module.module_info(:attributes)
    |> Keyword.get_values(:behaviour)
    |> List.flatten()
    |> Enum.member?(Bridge.Implementation)
  end
end
