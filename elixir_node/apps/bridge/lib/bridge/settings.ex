defmodule Bridge.Settings do
  @moduledoc """
  What the node is told by its environment, parsed once. Pure.

  | variable | meaning |
  |---|---|
  | `BRIDGE_NODE_WORKERS` | gateway workers to start as ports, default 0 |
  | `BRIDGE_PYTHON` | their interpreter, default `python3` |
  | `BRIDGE_LINK_DIR` | directory whose `*.sock` are workers to connect to, default none |
  | `BRIDGE_LISTENER` | socket of who supervises node and workers, default none |
  | `BRIDGE_ALIVE_FILE` | written each second while the node answers, default none |
  | `BRIDGE_CONTRACTS` | folders of contracts, ours and yours, separated by `:` |
  | `BRIDGE_ELIXIR_IMPLEMENTATIONS` | `name=/path/file.ex`, one per line |
  | `BRIDGE_ELIXIR_SOURCES` | `name=/path/file.ex`, what those held at the start |
  | `BRIDGE_ELIXIR_ACTIVITIES` | `name=/path/file.ex`, the activities of subsystems |
  | `BRIDGE_PARENT_STDIN` | 1: stop when standard input ends, because the parent is gone |
  | `BRIDGE_DRAIN_MS` | time a stopping worker has, default 5000 |
  | `BRIDGE_LINK_MAX_FRAME_BYTES` | largest frame on a link, default 4194304 |
  | `BRIDGE_LINK_IN_FLIGHT` | unanswered calls on one link, default 1024 |

  The rest of the environment passes through to the workers.
  """

  @enforce_keys [:python]
  defstruct workers: 0,
            python: nil,
            worker_args: ["-u", "-m", "bridge.gateway", "--packet=4", "--nouse_stdio"],
            link_dir: "",
            listener: "",
            alive_file: "",
            implementations: %{},
            contracts: [],
            sources: %{},
            activities: %{},
            parent_stdin: false,
            drain_ms: 5_000,
            link_max_frame_bytes: 4_194_304,
            link_in_flight: 1_024

  @type t :: %__MODULE__{
          workers: non_neg_integer,
          python: String.t(),
          worker_args: [String.t()],
          link_dir: String.t(),
          listener: String.t(),
          alive_file: String.t(),
          implementations: %{String.t() => Path.t()},
          contracts: [Path.t()],
          sources: %{String.t() => Path.t()},
          activities: %{String.t() => Path.t()},
          parent_stdin: boolean,
          drain_ms: non_neg_integer,
          link_max_frame_bytes: pos_integer,
          link_in_flight: pos_integer
        }

  # The node's own; the gateway refuses variables it does not know.
  @own ~w(BRIDGE_NODE_WORKERS BRIDGE_PYTHON BRIDGE_ELIXIR_IMPLEMENTATIONS
          BRIDGE_ELIXIR_SOURCES BRIDGE_ELIXIR_ACTIVITIES BRIDGE_PARENT_STDIN BRIDGE_ALIVE_FILE
          BRIDGE_LISTEN_FD)

  @doc "Return the names of the variables that are not passed on to the workers."
  @spec own_variables() :: [String.t()]
  def own_variables, do: @own

  @doc "Read the settings; the error says which variable, what was expected and what came."
  @spec parse(%{String.t() => String.t()}) :: {:ok, t} | {:error, String.t()}
  def parse(environment) do
    defaults = %__MODULE__{python: "python3"}

    settings = %__MODULE__{
      workers: number(environment, "BRIDGE_NODE_WORKERS", defaults.workers, 0),
      python: text(environment, "BRIDGE_PYTHON", defaults.python),
      link_dir: text(environment, "BRIDGE_LINK_DIR", defaults.link_dir),
      listener: text(environment, "BRIDGE_LISTENER", defaults.listener),
      alive_file: text(environment, "BRIDGE_ALIVE_FILE", defaults.alive_file),
      implementations: pairs(environment, "BRIDGE_ELIXIR_IMPLEMENTATIONS"),
      contracts: environment |> text("BRIDGE_CONTRACTS", "") |> String.split(":", trim: true),
      sources: pairs(environment, "BRIDGE_ELIXIR_SOURCES"),
      activities: pairs(environment, "BRIDGE_ELIXIR_ACTIVITIES"),
      parent_stdin: number(environment, "BRIDGE_PARENT_STDIN", 0, 0) == 1,
      drain_ms: number(environment, "BRIDGE_DRAIN_MS", defaults.drain_ms, 0),
      link_max_frame_bytes:
        number(environment, "BRIDGE_LINK_MAX_FRAME_BYTES", defaults.link_max_frame_bytes, 65_536),
      link_in_flight: number(environment, "BRIDGE_LINK_IN_FLIGHT", defaults.link_in_flight, 1)
    }

    {:ok, settings}
  catch
    {:bad_setting, text} -> {:error, text}
  end

  @doc "Return a setting's text, the default where it is not set."
  @spec text(map, String.t(), String.t()) :: String.t()
  def text(environment, name, default) do
    case Map.get(environment, name, "") do
      "" -> default
      text -> text
    end
  end

  @doc "Return a setting's number; throws `{:bad_setting, text}`."
  @spec number(map, String.t(), integer, integer) :: integer
  def number(environment, name, default, least) do
    text = text(environment, name, Integer.to_string(default))

    case Integer.parse(text) do
      {number, ""} when number >= least -> number
      _ -> bad(name, "a whole number of at least #{least}", text)
    end
  end

  defp pairs(environment, name) do
    for line <- environment |> Map.get(name, "") |> String.split("\n", trim: true), into: %{} do
      case String.split(line, "=", parts: 2) do
        [subsystem, value] when subsystem != "" and value != "" -> {subsystem, value}
        _ -> bad(name, "lines of name=value", line)
      end
    end
  end

  defp bad(name, expected, actual) do
    throw({:bad_setting, "#{name}: expected #{expected}, got #{inspect(actual)}"})
  end
end
