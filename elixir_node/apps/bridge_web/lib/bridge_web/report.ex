defmodule BridgeWeb.Report do
  @moduledoc "What the workers say of themselves, as pages show it. Pure."

  @doc "Make a report of `{worker, status}`; rates are against the report before, if there was one."
  @spec of([{String.t(), map}], map | nil, integer) :: map
  def of([{_, one} | _] = told, before, now_ms) do
    commits = for {name, status} <- told, do: {name, commits(status)}
    seconds = if before, do: max(now_ms - before.at_ms, 1) / 1000

    %{
      at_ms: now_ms,
      commits: commits,
      subsystems: for(route <- routes(one), do: subsystem(route, one, commits, before, seconds)),
      workers: for({name, status} <- told, do: worker(name, status, commits, before, seconds)),
      nodes: Map.get(one, "nodes", []),
      redis: redis(Map.get(one, "storage") || %{})
    }
  end

  @doc "Return one subsystem of a report."
  @spec subsystem(map, String.t()) :: map | nil
  def subsystem(report, name), do: Enum.find(report.subsystems, &(&1.name == name))

  defp routes(%{"routes" => routes}) when is_list(routes), do: routes
  defp routes(_away), do: []

  defp subsystem(%{"subsystem" => name} = route, status, commits, before, seconds) do
    count = fn commits -> Enum.sum(for {_, of} <- commits, do: Map.get(of, name, 0)) end

    %{
      name: name,
      owner: route["owner"],
      fallback: route["fallback"],
      epoch: route["epoch"],
      served_by: for({runtime, %{^name => true}} <- status["runtimes"] || %{}, do: runtime),
      rate: rate(count.(commits), before && count.(before.commits), seconds)
    }
  end

  defp worker(name, %{"edge" => edge} = status, commits, before, seconds) do
    count = fn commits ->
      commits |> List.keyfind(name, 0, {name, %{}}) |> elem(1) |> Map.values() |> Enum.sum()
    end

    %{
      name: name,
      sockets: edge["sockets"],
      topics: edge["topics"],
      node_topics: edge["node_topics"],
      in_flight: edge["in_flight"],
      rate: rate(count.(commits), before && count.(before.commits), seconds),
      errors: Enum.sum(for {"defect" <> _, count} <- status["counts"] || %{}, do: count)
    }
  end

  # Counts are named `committed{label=value,...}`.
  defp commits(status) do
    for {"committed{" <> labels, count} <- status["counts"] || %{}, reduce: %{} do
      counts ->
        case Regex.run(~r/subsystem=([^,}]+)/, labels) do
          [_, subsystem] -> Map.update(counts, subsystem, count, &(&1 + count))
          nil -> counts
        end
    end
  end

  defp rate(_now, nil, _seconds), do: 0.0
  defp rate(now, before, seconds), do: Float.round(max(now - before, 0) / seconds, 1)

  defp redis(%{"message" => message}), do: %{text: message, bad?: true}

  defp redis(%{"refused" => refused} = storage) when refused not in [nil, ""],
    do: %{text: "#{storage["id"]} refuses #{refused}", bad?: true}

  defp redis(%{"id" => id}),
    do: %{text: "storage #{String.slice(id, 0, 8)}, answers", bad?: false}

  defp redis(_none), do: %{text: "not known", bad?: false}
end
