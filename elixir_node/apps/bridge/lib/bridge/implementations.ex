defmodule Bridge.Implementations do
  @moduledoc """
  Which module implements which subsystem, and from which contract it was built.
  """

  alias Bridge.Telemetry

  @enforce_keys [:module, :digest]
  defstruct [:module, :digest, build: nil]

  @type t :: %__MODULE__{module: module, digest: String.t(), build: String.t() | nil}
  @type all :: %{String.t() => t}

  @built_in %{
    "heartbeat" => Bridge.Subsystems.Heartbeat,
    "sessions" => Bridge.Subsystems.Sessions,
    "terminal" => Bridge.Subsystems.Terminal,
    "triage" => Bridge.Subsystems.Triage
  }

  @doc """
  Return the built-in implementations and those of the given files, by subsystem.

  Each has its contract in one of the folders, `<folder>/<name>/subsystem.json`; the first one
  that has it wins. `sources` names for each file where its text of the start is kept: that is
  what runs. A file that does not load is left out and reported, and so is what has no contract:
  its subsystem is then answered by another runtime.
  """
  @spec load(files, [Path.t()], files) :: all when files: %{String.t() => Path.t()}
  def load(files, folders, sources \\ %{}) do
    # Without any folder the node is somebody's dependency, and serves nothing.
    built_in = if folders == [], do: %{}, else: @built_in

    for {name, source} <- Map.merge(built_in, files),
        implementation <- load_one(name, source, folders, sources),
        into: %{},
        do: {name, implementation}
  end

  defp load_one(name, source, folders, sources) do
    with {:ok, digest} <- digest(name, folders),
         {:ok, module, build} <- module(source, sources[name]) do
      [%__MODULE__{module: module, digest: digest, build: build}]
    else
      {:error, reason} ->
        data = %{subsystem: name, path: source, reason: reason}
        Telemetry.emit(:implementation_refused, data)
        []
    end
  end

  defp module(built_in, _kept) when is_atom(built_in), do: {:ok, built_in, nil}

  defp module(path, kept) do
    with {:ok, text} <- read(kept || path),
         {:ok, module} <- compile(path, text),
         do: {:ok, module, build(path, text)}
  end

  # Of the file as it lies there, as `bridge.contracts.loading` has it.
  defp digest(name, folders) do
    # A folder may also be one subsystem's own.
    files =
      for folder <- folders,
          below <- [[name], if(Path.basename(folder) == name, do: [], else: [name])],
          do: Path.join([folder | below] ++ ["subsystem.json"])

    case Enum.find(files, &File.regular?/1) do
      nil -> {:error, "no contract of it in #{Enum.join(folders, ":")} (BRIDGE_CONTRACTS)"}
      file -> with {:ok, text} <- read(file), do: {:ok, sha256(text)}
    end
  end

  @doc "Return the digests to say hello with."
  @spec digests(all) :: %{String.t() => String.t()}
  def digests(all), do: Map.new(all, fn {name, %{digest: digest}} -> {name, digest} end)

  @doc "Return the builds to say hello with, of those that are files."
  @spec builds(all) :: %{String.t() => String.t()}
  def builds(all),
    do: for({name, %{build: <<build::binary>>}} <- all, into: %{}, do: {name, build})

  @doc "Compile a file as it is now."
  @spec compile(Path.t()) :: {:ok, module} | {:error, String.t()}
  def compile(path), do: with({:ok, text} <- read(path), do: compile(path, text))

  @doc """
  Compile a file's text and return its one module that implements `Bridge.Implementation`.

  A module whose name another file has taken is refused: it would answer in that one's place.
  """
  @spec compile(Path.t(), String.t()) :: {:ok, module} | {:error, String.t()}
  def compile(path, text),
    do: with({:ok, module, _beams} <- compiled(path, text), do: {:ok, module})

  defp compiled(path, text) do
    path = Path.expand(path)

    case Enum.find(modules(path, text), &(source(&1) not in [nil, path])) do
      nil ->
        beams = Code.compile_string(text, path)
        with {:ok, module} <- implementation(Keyword.keys(beams)), do: {:ok, module, beams}

      module ->
        {:error, "#{inspect(module)} is there already, from #{source(module)}: rename it"}
    end
  rescue
    error -> {:error, said(error)}
  end

  # Since Elixir 1.16 the message of a syntax error is a drawing of several lines.
  defp said(%{file: file, line: line, description: text}) when is_integer(line) and line > 0,
    do: "#{file}:#{line}: #{text}"

  defp said(error), do: Exception.message(error)

  @doc """
  Compile a file, kept as `source`, in a node that does nothing else, and write its code beside that.

  Exit status 1, with the reason, if it fails.
  """
  @spec check(Path.t(), Path.t()) :: no_return
  def check(path, source) do
    with {:ok, text} <- read(source),
         {:ok, module, code} <- compiled(path, text) do
      File.write!(beams(source), :erlang.term_to_binary({sha256(text), module, code}))
      System.halt(0)
    else
      {:error, reason} ->
        IO.puts(:stderr, "#{path}: #{reason}")
        System.halt(1)
    end
  end

  @doc "Return where the compiled code of a kept source is."
  @spec beams(Path.t()) :: Path.t()
  def beams(source), do: Path.rootname(source) <> ".beams"

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
  defp modules(path, text) do
    quoted = Code.string_to_quoted!(text, file: path)
    top = with {:__block__, _, several} <- quoted, do: several

    for {:defmodule, _, [{:__aliases__, _, names} | _]} <- List.wrap(top),
        do: Module.concat(names)
  end

  defp read(path) do
    with {:error, reason} <- File.read(path),
         do: {:error, "#{path}: #{:file.format_error(reason)}"}
  end

  @doc "Name a file's build as `bridge.contracts.builds` does, of all names and digests: here one."
  @spec build(Path.t(), String.t()) :: String.t()
  def build(path, text) do
    sha256(Path.basename(path) <> " " <> sha256(text)) |> binary_part(0, 12)
  end

  @doc false
  @spec sha256(binary) :: String.t()
  def sha256(text), do: Base.encode16(:crypto.hash(:sha256, text), case: :lower)

  @doc "Return the file a module that is there was compiled of, nil if there is none."
  @spec source(module) :: Path.t() | nil
  def source(module) do
    if Code.ensure_loaded?(module) do
      to_string(module.module_info(:compile)[:source] || "another file")
    end
  end

  defp implementation?(module) do
    module.module_info(:attributes)
    |> Keyword.get_values(:behaviour)
    |> List.flatten()
    |> Enum.member?(Bridge.Implementation)
  end
end
