defmodule Bridge.Telemetry do
  @moduledoc """
  The facts the node reports: one name, one short line on standard error each.
  """

  @handler :bridge_stderr

  @doc "Send log lines to standard error, one line each, instead of standard output."
  @spec attach() :: :ok
  def attach do
    # `elixir` starts Elixir's own logger, which prints to standard output.
    _ = Application.stop(:logger)
    _ = :logger.remove_handler(:default)

    config = %{
      level: :info,
      config: %{type: :standard_error},
      filters: [progress: {&:logger_filters.progress/2, :stop}],
      formatter:
        {:logger_formatter,
         %{template: ["node ", :level, " ", :msg, "\n"], single_line: true, chars_limit: 1000}}
    }

    :ok = :logger.set_primary_config(:level, :info)

    case :logger.add_handler(@handler, :logger_std_h, config) do
      :ok -> :ok
      {:error, {:already_exist, @handler}} -> :ok
    end
  end

  @doc "Wait until everything reported so far is written."
  @spec flush() :: :ok
  def flush do
    _ = :logger_std_h.filesync(@handler)
    :ok
  end

  @doc "Report a fact; its text is built here, and only when its level is logged."
  @spec emit(atom, map) :: :ok
  def emit(fact, data) do
    {level, text} = describe(fact, data)
    :logger.log(level, fn _ -> {"~ts", [text.()]} end, [], %{fact: fact})
  end

  defp describe(fact, d) do
    case fact do
      :started ->
        {:info, fn -> "up, serves #{list(d.subsystems)}" end}

      :not_started ->
        {:error, fn -> d.reason end}

      :stopping ->
        {:info, fn -> "stops: #{d.reason}" end}

      :link_up ->
        {:info, fn -> "#{d.peer}: worker #{d.worker}, pid #{d.pid}" end}

      :link_down ->
        {:info, fn -> "#{d.peer}: link closed: #{text(d.reason)}" end}

      :link_refused ->
        {:error, fn -> "#{d.peer}: refused: #{text(d.reason)}" end}

      :subsystem_refused ->
        {:error, fn -> "#{d.worker} refused #{d.subsystem}: #{d.reason}" end}

      :implementation_refused ->
        {:error, fn -> "#{d.subsystem}: #{d.path}: #{d.reason}" end}

      :reloaded ->
        {:info, fn -> "reloaded #{d.subsystem}: #{d.text}" end}

      :activity_log ->
        {:info, fn -> "#{d.call}: #{text(d.text)}" end}

      :peer_defect ->
        {:warning, fn -> "#{d.peer}: #{d.defect}" end}

      :worker_restarts ->
        {:warning, fn -> "#{d.peer}: #{text(d.reason)}; restarts in #{d.delay_ms} ms" end}

      :worker_killed ->
        {:error, fn -> "#{d.peer}: killed pid #{d.pid}: #{d.reason}" end}

      :orphan_adopted ->
        {:info, fn -> "#{d.peer}: adopted, as worker #{d.slot}" end}

      :orphan_drains ->
        {:info, fn -> "#{d.peer}: orphan drains, there are workers enough" end}

      :socket_removed ->
        {:info, fn -> "#{d.peer}: nobody listens any more, removed" end}
    end
  end

  defp list(names), do: Enum.join(names, ", ")

  defp text(reason) when is_binary(reason), do: reason
  defp text({:shutdown, reason}), do: text(reason)
  defp text(reason), do: inspect(reason, limit: 20, printable_limit: 200)
end
