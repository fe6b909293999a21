defmodule Bridge.Implementations.Reload do
  @moduledoc """
  Brings an implementation's new code into the running node: compiled elsewhere, loaded at once.

  What runs goes on in the code it began with. That is let go of when the next one comes, and
  only then is what still runs it ended, after a while, and named.
  """

  alias Bridge.Implementations
  alias Bridge.Implementations.Served

  @patience_ms 10_000
  @look_ms 20

  @doc """
  Load what `Implementations.check/3` wrote beside `source`, and serve it.

  Returns what there is to say: which build came in the place of which.
  """
  @spec load(Served.name(), String.t(), Path.t(), Path.t(), pos_integer) ::
          {:ok, String.t()} | {:error, String.t()}
  def load(table, subsystem, path, source, patience_ms \\ @patience_ms) do
    with {:ok, {was, _}} <- served(table, subsystem),
         {:ok, text} <- File.read(source),
         {:ok, written} <- File.read(Implementations.beams(source)),
         {sha256, module, beams} <- :erlang.binary_to_term(written),
         :ok <- fits(sha256, text),
         :ok <- free(beams, path) do
      modules = for {name, _} <- beams, do: name
      ended = Enum.flat_map(modules, &let_go(&1, now_ms() + patience_ms))
      build = Implementations.build(path, text)
      now = %{was | module: module, build: build}
      :ok = Served.change(table, subsystem, fn -> bring(beams, path, now) end)
      {:ok, "#{was.build || "built in"} -> #{build}#{named(ended)}"}
    else
      {:error, reason} when is_atom(reason) -> {:error, "#{:file.format_error(reason)}"}
      {:error, reason} -> {:error, reason}
    end
  end

  defp served(table, subsystem) do
    with :error <- Served.fetch(table, subsystem),
         do: {:error, "the node does not serve #{subsystem}"}
  end

  defp fits(sha256, text) do
    if sha256 == Implementations.sha256(text), do: :ok, else: {:error, "compiled of another text"}
  end

  defp free(beams, path) do
    taken = fn {module, _} -> Implementations.source(module) not in [nil, Path.expand(path)] end

    case Enum.find(beams, taken) do
      nil -> :ok
      {module, _} -> {:error, "#{inspect(module)} is there already, from another file"}
    end
  end

  # Loading makes the code of now the old one; the old one of now has to go first.
  defp let_go(module, until_ms) do
    cond do
      :code.soft_purge(module) ->
        []

      now_ms() < until_ms ->
        Process.sleep(@look_ms)
        let_go(module, until_ms)

      true ->
        running = for pid <- Process.list(), :erlang.check_process_code(pid, module), do: pid
        _ = :code.purge(module)
        for pid <- running, do: {module, pid}
    end
  end

  defp bring(beams, path, now) do
    file = String.to_charlist(path)
    :ok = :code.atomic_load(for {module, beam} <- beams, do: {module, file, beam})
    now
  end

  defp named([]), do: ""

  defp named(ended) do
    which =
      Enum.map_join(ended, ", ", fn {module, pid} -> "#{inspect(pid)} in #{inspect(module)}" end)

    "; ended, as it still ran the code before the last: #{which}"
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
