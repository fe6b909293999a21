defmodule Bridge.Implementations.Served do
  @moduledoc """
  The implementations a node serves now, in a table: one of them can be changed while it is asked.

  A run looks at its row before and after (`fetch/2`, `steady?/3`): what was computed while the
  code changed is computed again, so that an answer is of one build, and says which.
  """

  alias Bridge.Implementations

  @type name :: atom
  @type row :: {Implementations.t(), generation :: non_neg_integer}

  @doc "Make the table, if it is not there; it ends with the calling process."
  @spec new(name, Implementations.all()) :: name
  def new(name, all) do
    if :ets.whereis(name) == :undefined do
      ^name = :ets.new(name, [:named_table, :public, read_concurrency: true])
      true = :ets.insert(name, for({subsystem, one} <- all, do: {subsystem, one, 0}))
    end

    name
  end

  @doc "Return what serves a subsystem, and its generation: odd while its code changes."
  @spec fetch(name, String.t()) :: {:ok, row} | :error
  def fetch(table, subsystem) do
    case :ets.lookup(table, subsystem) do
      [{_, implementation, generation}] -> {:ok, {implementation, generation}}
      [] -> :error
    end
  end

  @doc "Say whether nothing of it changed since, nor was just changing."
  @spec steady?(name, String.t(), non_neg_integer) :: boolean
  def steady?(table, subsystem, generation) do
    rem(generation, 2) == 0 and :ets.lookup_element(table, subsystem, 3) == generation
  end

  @doc "Change one: `load` brings its code in and returns what then serves it."
  @spec change(name, String.t(), (() -> Implementations.t())) :: :ok
  def change(table, subsystem, load) do
    generation = :ets.update_counter(table, subsystem, {3, 1})
    true = :ets.update_element(table, subsystem, [{2, load.()}, {3, generation + 1}])
    :ok
  end

  @doc "Return all of them, by subsystem."
  @spec all(name) :: Implementations.all()
  def all(table), do: for({name, one, _} <- :ets.tab2list(table), into: %{}, do: {name, one})
end
