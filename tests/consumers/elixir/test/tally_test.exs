defmodule TallyTest do
  use ExUnit.Case, async: true
  use Bridge.Testing.Scenarios, folder: "tally", implementation: Subsystem.Tally
end
