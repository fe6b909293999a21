defmodule BridgeNode.MixProject do
  use Mix.Project

  # bridge_web names hex packages, and mix asks for Hex as soon as one app of an umbrella does.
  @apps if System.get_env("BRIDGE_WEB") == "1", do: [:bridge, :bridge_web], else: [:bridge]

  @version "../bridge/VERSION" |> Path.expand(__DIR__) |> File.read!() |> String.trim()

  def project do
    [apps_path: "apps", apps: @apps, version: @version, start_permanent: Mix.env() == :prod]
  end
end
