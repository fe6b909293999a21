for {name, module} <- [
      heartbeat: Bridge.Subsystems.Heartbeat,
      sessions: Bridge.Subsystems.Sessions,
      terminal: Bridge.Subsystems.Terminal,
      triage: Bridge.Subsystems.Triage
    ] do
  defmodule Module.concat(module, ScenariosTest) do
    use ExUnit.Case, async: true

    use Bridge.Testing.Scenarios,
      folder: Bridge.Test.Contracts.built_in("#{name}"),
      implementation: module
  end
end
