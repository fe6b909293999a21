defmodule Bridge.Activities.Attempt do
  @moduledoc """
  One attempt of an activity: watches the process that runs the function, and answers once.
  """

  use GenServer, restart: :temporary

  alias Bridge.{JsonTerm, Telemetry}
  alias Bridge.Link.Messages

  @max_text 4_000

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, Map.new(options))

  @doc "End it; nobody is answered."
  @spec cancel(pid) :: :ok
  def cancel(attempt), do: GenServer.cast(attempt, :cancel)

  @impl true
  def init(%{call: %{"context" => context}} = options) do
    Process.flag(:trap_exit, true)
    Process.monitor(options.caller)
    {:ok, _} = Registry.register(options.registry, context["id"], nil)
    {:ok, Map.merge(options, %{ref: nil, run: nil, beat: nil})}
  end

  @impl true
  def handle_cast(:cancel, state), do: {:stop, :shutdown, state}

  @impl true
  def handle_info({:begin, ref}, %{call: call} = state) do
    attempt = self()
    run = spawn_link(fn -> exit({:shutdown, {:ran, result(state.module, call, attempt)}}) end)
    Process.send_after(self(), :late, call["timeout_ms"])
    {:noreply, expect_beat(%{state | ref: ref, run: run})}
  end

  def handle_info(:beat, state), do: {:noreply, expect_beat(state)}

  def handle_info({:EXIT, run, {:shutdown, {:ran, answer}}}, %{run: run} = state),
    do: answer(answer, state)

  def handle_info({:EXIT, run, reason}, %{run: run} = state),
    do: answer(failed("its process ended: #{inspect(reason, limit: 5)}", true, %{}), state)

  def handle_info(:late, state) do
    answer(failed("no answer within #{state.call["timeout_ms"]} ms", true, %{}), state)
  end

  def handle_info({:silent, beat}, %{beat: beat} = state) do
    silent_ms = state.call["context"]["heartbeat_ms"]
    answer(failed("no heartbeat for #{silent_ms} ms", true, %{}), state)
  end

  def handle_info({:DOWN, _, :process, caller, _}, %{caller: caller} = state),
    do: {:stop, :shutdown, state}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{run: run}) do
    if run, do: Process.exit(run, :kill)
    :ok
  end

  defp answer(answer, state) do
    send(state.ref, {state.ref, Messages.encode(answer)})
    {:stop, :shutdown, state}
  end

  defp expect_beat(%{call: %{"context" => %{"heartbeat_ms" => most}}} = state) when most > 0 do
    beat = make_ref()
    Process.send_after(self(), {:silent, beat}, most)
    %{state | beat: beat}
  end

  defp expect_beat(state), do: state

  defp result(module, %{"operation" => activity, "context" => context} = call, attempt) do
    where = "#{call["subsystem"]}.#{activity} #{context["id"]}"

    told = %{
      idempotency_key: context["id"],
      attempt: context["attempt"],
      key: call["key"],
      heartbeat: fn -> send(attempt, :beat) && :ok end,
      log: fn text -> Telemetry.emit(:activity_log, %{call: where, text: text}) end
    }

    case module.perform(activity, call["request"], told) do
      {:ok, reply} ->
        case JsonTerm.check(reply) do
          :ok -> %{"ok" => %{"reply" => reply}}
          {:error, text} -> failed("reply: #{text}", false, %{})
        end

      {:error, message} when is_binary(message) ->
        failed(message, true, %{})

      {:error, :not_retryable, message} when is_binary(message) ->
        failed(message, false, %{})

      {:error, :not_retryable, message, detail} when is_binary(message) and is_map(detail) ->
        failed(message, false, if(JsonTerm.check(detail) == :ok, do: detail, else: %{}))

      _ ->
        failed("expected {:ok, reply} or {:error, [:not_retryable,] message}", false, %{})
    end
  catch
    kind, reason -> failed(Exception.format_banner(kind, reason, __STACKTRACE__), true, %{})
  end

  defp failed(message, retryable, detail) do
    # Cut at a character, and mended: it is for people.
    text = message |> String.slice(0, @max_text) |> String.codepoints()
    text = for each <- text, into: "", do: if(String.valid?(each), do: each, else: "\uFFFD")
    %{"failed" => %{"message" => text, "retryable" => retryable, "detail" => detail}}
  end
end
