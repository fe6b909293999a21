defmodule Asker.Activities do
  @moduledoc "What `asker` asks for in Elixir: it does what the text says."

  @behaviour Bridge.Activities

  @impl true
  def perform("beam", %{"text" => text}, call) do
    note = fn what ->
      line = "#{call.idempotency_key} #{call.attempt} #{what}\n"
      if file = System.get_env("ASKED"), do: File.write!(file, line, [:append])
    end

    note.(text)

    case String.split(text, " ") do
      ["fail" | _] -> {:error, "failed at #{call.attempt}"}
      ["raise" | _] -> raise "raised at #{call.attempt}"
      ["never" | _] -> {:error, :not_retryable, "no use", %{"why" => "never"}}
      ["hang" | _] -> Process.sleep(:infinity)
      ["first" | _] when call.attempt == 1 -> Process.sleep(:infinity)
      ["long" | _] -> Enum.each(1..12, fn _ -> Process.sleep(200) && call.heartbeat.() end)
      _ -> :ok
    end
    |> case do
      {:error, _} = error -> error
      {:error, _, _, _} = error -> error
      _ -> {:ok, %{"text" => text, "attempt" => call.attempt}}
    end
  end
end
