defmodule Bridge.Keys.Run do
  @moduledoc """
  One run of an implementation, in a process that may be killed at any moment.

  The outcome is checked and encoded in that process too: what is large or deep costs its own
  time, and only bytes are handed on. The owner receives `{:ran, pid, encoded outcome}`, or an
  exit signal.
  """

  alias Bridge.Implementations.Served
  alias Bridge.{JsonTerm, Keys}
  alias Bridge.Keys.Kin
  alias Bridge.Link.Messages

  @word_bytes :erlang.system_info(:wordsize)
  @max_text 500
  @outcomes "{:ok, reply, effects, state} or {:error, reason, message[, detail]}"

  @doc "Start a run; the heap limit does not see binaries on OTP 25, see `binary_bytes/2`."
  @spec spawn_link(Served.name(), map, pos_integer) :: pid
  def spawn_link(served, call, max_memory_bytes) do
    owner = self()

    :erlang.spawn_opt(
      fn ->
        :ok = Kin.trace(owner)
        send(owner, {:ran, self(), encode(of_one_build(served, call))})
      end,
      [:link, max_heap_size: heap(max_memory_bytes)]
    )
  end

  @doc "Return the flag that ends a process whose heap becomes larger than that."
  @spec heap(pos_integer) :: map
  def heap(max_bytes),
    do: %{size: div(max_bytes, @word_bytes), kill: true, error_logger: false}

  # A handler is a function: asked again, nothing has happened.
  defp of_one_build(served, %{"subsystem" => subsystem} = call) do
    {:ok, {implementation, generation}} = Served.fetch(served, subsystem)
    outcome = outcome(implementation.module, call)

    cond do
      not Served.steady?(served, subsystem, generation) ->
        # It does not change for longer than a load takes.
        Process.sleep(1)
        of_one_build(served, call)

      implementation.build ->
        Map.put(outcome, "build", implementation.build)

      true ->
        outcome
    end
  end

  @doc "Encode an outcome as the link's result."
  @spec encode(map) :: binary
  def encode(outcome), do: Messages.encode(outcome)

  @doc """
  Return the bytes of the binaries a run holds; 0 without asking it while all of the VM's
  together are within the limit.
  """
  @spec binary_bytes(pid, pos_integer) :: non_neg_integer
  def binary_bytes(pid, limit) do
    with true <- :erlang.memory(:binary) > limit,
         {:binary, binaries} <- Process.info(pid, :binary) do
      binaries |> Enum.uniq_by(&elem(&1, 0)) |> Enum.reduce(0, &(elem(&1, 1) + &2))
    else
      _ -> 0
    end
  end

  @doc "Run an implementation and return its outcome, a fault if it has none."
  @spec outcome(module, map) :: map
  def outcome(module, call) do
    operation = call["operation"]
    context = Map.put_new(call["context"], "key", call["key"])

    try do
      ask(module, call, context)
    catch
      kind, reason -> Keys.fault("crashed", crash(kind, reason, __STACKTRACE__, module))
    else
      {:migrated, {:ok, state}} ->
        ok(nil, [], state)

      {:migrated, _} ->
        Keys.fault("off_contract", "#{operation}: expected {:ok, state}")

      {:ok, reply, effects, state} when is_list(effects) ->
        ok(reply, effects, if(call["kind"] == "query", do: nil, else: state))

      {:error, reason, message} when is_binary(reason) and is_binary(message) ->
        refused(reason, message, %{})

      {:error, reason, message, detail}
      when is_binary(reason) and is_binary(message) and is_map(detail) ->
        refused(reason, message, detail)

      _ ->
        Keys.fault("off_contract", "#{operation}: expected #{@outcomes}")
    end
  end

  defp ask(module, %{"kind" => "migration"} = call, context) do
    {:migrated, module.migrate(call["state"], call["request"]["from_version"], context)}
  end

  defp ask(module, call, context),
    do: module.handle(call["state"], call["operation"], call["request"], context)

  defp ok(reply, effects, state) do
    ok = %{"reply" => reply, "effects" => effects, "state" => state}
    checked(ok, %{"ok" => ok})
  end

  # The message is for people: what is no text in it must not lose the answer.
  defp refused(reason, message, detail) do
    refused = %{"reason" => reason, "message" => legible(message), "detail" => detail}
    checked(refused, %{"refused" => refused})
  end

  # The parts one by one: each may be as deep as JSON may be here.
  defp checked(parts, outcome) do
    Enum.find_value(parts, outcome, fn {name, part} ->
      case JsonTerm.check(part) do
        :ok -> nil
        {:error, text} -> Keys.fault("not_serialisable", "#{name}: #{text}")
      end
    end)
  end

  defp crash(kind, reason, stacktrace, own) do
    where =
      case stacktrace do
        [{module, function, arity, _} | _] when is_integer(arity) ->
          " in #{Exception.format_mfa(module, function, arity)}"

        [{module, function, args, _} | _] ->
          " in #{Exception.format_mfa(module, function, length(args))}"

        [] ->
          ""
      end

    text(Exception.format_banner(kind, reason, stacktrace)) <> where <> place(stacktrace, own)
  end

  # The line of the implementation's own file; no folders, clients see it.
  defp place(stacktrace, own) do
    case Enum.find(stacktrace, &(elem(&1, 0) == own)) do
      {_, _, _, [_ | _] = location} ->
        " (#{Path.basename(to_string(location[:file]))}:#{location[:line]})"

      _ ->
        ""
    end
  end

  defp text(text), do: text |> legible() |> String.slice(0, @max_text)

  # `String.replace_invalid/2` is younger than the oldest Elixir this runs on.
  defp legible(text) do
    case :unicode.characters_to_binary(text) do
      valid when is_binary(valid) -> valid
      {_error, valid, <<_, rest::binary>>} -> valid <> "\uFFFD" <> legible(rest)
    end
  end
end
