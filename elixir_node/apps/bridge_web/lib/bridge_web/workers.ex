defmodule BridgeWeb.Workers do
  @moduledoc "Asks any worker that is up, and the next one when that is gone."

  alias Bridge.Link.Connection

  @timeout_ms 5_000
  # As long as an operation may take, and more.
  @answer_ms 60_000

  @doc "Ask whether a socket may open: `:ok`, or the HTTP status and the error of a refusal."
  @spec connect(map) :: :ok | {:refused, pos_integer, map}
  def connect(handshake) do
    case call(:"edge.connect", handshake) do
      {:ok, %{"ok" => _}} -> :ok
      {:ok, %{"refused" => %{"status" => status, "error" => error}}} -> {:refused, status, error}
      {:error, error} -> {:refused, 503, error}
    end
  end

  @doc "Have a frame refused that cannot be read here: the head and the error of its answer."
  @spec refuse(map) :: map
  def refuse(frame) do
    case call(:"edge.refuse", %{"frame" => frame}) do
      {:ok, answer} -> answer
      {:error, error} -> %{"topic" => "phoenix", "error" => error}
    end
  end

  @doc "Have an HTTP request answered by a worker's edge."
  @spec http(map) :: {:ok, map} | {:error, map}
  def http(request), do: call(:"edge.http", request, @answer_ms)

  @doc "Return what each worker says of itself, by name; the caller is judged as for `/admin/status`."
  @spec status(map) :: {:ok, [{String.t(), map}]} | {:refused, pos_integer, map} | {:error, map}
  def status(caller) do
    answers =
      Bridge.Topics.workers()
      |> Enum.sort()
      |> Task.async_stream(
        fn {worker, link} ->
          {worker, Connection.call(link, :"edge.status", [caller], @timeout_ms)}
        end,
        timeout: :infinity
      )
      |> Enum.map(fn {:ok, answer} -> answer end)

    told = for {worker, {:ok, %{"ok" => json}}} <- answers, do: {worker, decode(json)}

    case {told, answers} do
      {[_ | _], _} ->
        {:ok, told}

      {[], [{_, {:ok, %{"refused" => %{"status" => status, "error" => error}}}} | _]} ->
        {:refused, status, error}

      {[], _none_or_gone} ->
        {:error, none()}
    end
  end

  @doc "Return the error of what no worker could be asked; nothing was applied."
  @spec none() :: map
  def none do
    error("runtime_unavailable", "no gateway worker is connected to this node: try again")
  end

  @doc "Return the error of what a link could not carry, or a worker not answer."
  @spec failed(term) :: map
  def failed(:overloaded), do: error("overloaded", "the link to the worker is full")
  def failed(_reason), do: error("internal", "the worker could not answer; its log has more")

  @doc "Return an error in the form of every edge; all that are made here may be retried."
  @spec error(String.t(), String.t(), map) :: map
  def error(code, message, detail \\ %{}) do
    %{"code" => code, "message" => message, "retryable" => true, "detail" => detail}
  end

  defp decode(json), do: Phoenix.json_library().decode!(json)

  defp call(function, asked, timeout_ms \\ @timeout_ms) do
    call_one(function, asked, timeout_ms, Enum.shuffle(Bridge.Topics.workers()))
  end

  defp call_one(_function, _asked, _timeout_ms, []), do: {:error, none()}

  defp call_one(function, asked, timeout_ms, [{_, link} | others]) do
    case Connection.call(link, function, [asked], timeout_ms) do
      {:ok, %{"refused" => %{"error" => %{"code" => "draining"}}}} when others != [] ->
        call_one(function, asked, timeout_ms, others)

      {:ok, answer} ->
        {:ok, answer}

      {:error, _gone_or_busy} ->
        call_one(function, asked, timeout_ms, others)
    end
  end
end
