defmodule Bridge.Test.Contracts do
  @moduledoc """
  What the tests read of the repository's contracts: the same files as the other languages.
  """

  alias Bridge.Testing.Json

  @root Path.expand("../../../../..", __DIR__)
  @built_in Path.join(@root, "contracts/subsystems")
  @tests Path.join(@root, "tests/subsystems")

  @doc "The folders of the built-in contracts and of the tests' own."
  def folders, do: [@built_in, @tests]

  @doc "The folder of one built-in subsystem."
  def built_in(name), do: Path.join(@built_in, name)

  @doc "The folder of one of the tests' subsystems."
  def of_tests(name), do: Path.join(@tests, name)

  @doc "A folder whose contract names `migrates_from`, and which has an implementation."
  def migrated, do: Path.join(@root, "tests/migration/two/ledger")

  @doc "The SHA-256 of a file, as 64 hex digits."
  def sha256(file) do
    :sha256 |> :crypto.hash(File.read!(file)) |> Base.encode16(case: :lower)
  end

  @doc "A folder of contracts/vectors."
  def folder(name), do: Path.join([@root, "contracts/vectors", name])

  @doc "The value of one file of contracts/vectors, such as `etf/accepted`."
  def vectors(name) do
    @root |> Path.join("contracts/vectors/#{name}.json") |> File.read!() |> Json.decode!()
  end
end
