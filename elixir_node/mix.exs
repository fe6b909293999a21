defmodule BridgeNode.MixProject do
  use Mix.Project

  # bridge_web names hex packages, and mix asks for Hex as soon as one app of an umbrella does.
  @apps if System.get_env("BRIDGE_WEB") == "1", do: [:bridge, :bridge_web], else: [:bridge]

  def project do
    [apps_path: "apps", apps: @apps, version: "0.1.0", start_permanent: Mix.env() == :prod]
  end
end
