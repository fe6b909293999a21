defmodule Bridge.MixProject do
  use Mix.Project

  @version "../../../bridge/VERSION" |> Path.expand(__DIR__) |> File.read!() |> String.trim()

  def project do
    [
      app: :bridge,
      version: @version,
      elixir: "~> 1.14",
      build_path: "../../_build",
      elixirc_paths: if(Mix.env() == :test, do: ["lib", "test/support"], else: ["lib"]),
      start_permanent: Mix.env() == :prod,
      # No hex package, ever: this app is built on machines that have never seen Hex.
      deps: []
    ]
  end

  def application do
    [mod: {Bridge.Application, []}, extra_applications: [:crypto]]
  end
end
