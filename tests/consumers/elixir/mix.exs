defmodule Yours.MixProject do
  use Mix.Project

  def project do
    [
      app: :yours,
      version: "1.0.0",
      elixir: "~> 1.14",
      elixirc_paths: ["tally"],
      # Where the package was unpacked.
      deps: [{:bridge, path: System.fetch_env!("BRIDGE_PACKAGE")}]
    ]
  end
end
