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

  @doc """
  Compile a file and return its one module that implements `Bridge.Implementation`.

  A module whose name another file has taken is refused: it would answer in that one's place.
  """
  @spec compile(Path.t()) :: {:ok, module} | {:error, String.t()}
  def compile(path) do
    path = Path.expand(path)

    case Enum.find(modules(path), &(source(&1) not in [nil, path])) do
      nil -> implementation(for {module, _} <- Code.compile_file(path), do: module)
      module -> {:error, "#{inspect(module)} is there already, from #{source(module)}: rename it"}
    end
  rescue
    error -> {:error, Exception.message(error)}
  end

  defp implementation(modules) do
    case Enum.filter(modules, &implementation?/1) do
      [module] ->
        {:ok, module}

      found ->
        wanted = "expected one module with @behaviour Bridge.Implementation"
        {:error, "#{wanted}, got #{length(found)}"}
    end
  end

  # The modules a file would define, but for those inside others.
  defp modules(path) do
    quoted = path |> File.read!() |> Code.string_to_quoted!(file: path)
    top = with {:__block__, _, several} <- quoted, do: several

    for {:defmodule, _, [{:__aliases__, _, names} | _]} <- List.wrap(top),
        do: Module.concat(names)
  end

  defp source(module) do
    if Code.ensure_loaded?(module) do
      to_string(module.module_info(:compile)[:source] || "another file")
    end
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
