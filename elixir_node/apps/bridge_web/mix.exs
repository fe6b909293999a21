defmodule BridgeWeb.MixProject do
  use Mix.Project

  def project do
    [
      app: :bridge_web,
      version: "../../../bridge/VERSION" |> Path.expand(__DIR__) |> File.read!() |> String.trim(),
      elixir: "~> 1.15",
      build_path: "../../_build",
      deps_path: "../../deps",
      lockfile: "../../mix.lock",
      elixirc_paths: if(Mix.env() == :test, do: ["lib", "test/support"], else: ["lib"]),
      start_permanent: Mix.env() == :prod,
      aliases: [check: ["format --check-formatted", "test"]],
      deps: deps()
    ]
  end

  def cli, do: [preferred_envs: [check: :test]]

  def application do
    [mod: {BridgeWeb.Application, []}, extra_applications: [:logger, :crypto]]
  end

  defp deps do
    [
      {:bridge, in_umbrella: true},
      {:bandit, "1.12.4"},
      {:jason, "1.4.5"},
      {:phoenix, "1.8.9"},
      {:phoenix_html, "4.3.0"},
      {:phoenix_live_dashboard, "0.8.7"},
      {:phoenix_live_view, "1.1.32"},
      {:phoenix_pubsub, "2.2.0"},
      {:plug, "1.19.1"},
      {:websock_adapter, "0.5.9"}
    ]
  end
end
