defmodule Bridge.SettingsTest do
  use ExUnit.Case, async: true

  alias Bridge.Settings

  test "an empty environment starts and connects nothing" do
    assert {:ok, settings} = Settings.parse(%{})
    assert %Settings{workers: 0, link_dir: "", python: "python3", parent_stdin: false} = settings
    assert %Settings{implementations: implementations, contracts: contracts} = settings
    assert {implementations, contracts} == {%{}, []}
  end

  test "a worker is started as ErlPort starts Python, on descriptors 3 and 4" do
    assert {:ok, settings} = Settings.parse(%{})

    assert settings.worker_args ==
             ["-u", "-m", "bridge.gateway", "--packet=4", "--nouse_stdio"]
  end

  test "every variable is read" do
    assert Settings.parse(%{
             "BRIDGE_NODE_WORKERS" => "2",
             "BRIDGE_PYTHON" => "/opt/python",
             "BRIDGE_LINK_DIR" => "/run/links",
             "BRIDGE_ELIXIR_IMPLEMENTATIONS" => "counter=/a=b/c:d.ex\nother=/o.ex\n",
             "BRIDGE_CONTRACTS" => "/ours:/yours",
             "BRIDGE_PARENT_STDIN" => "1",
             "BRIDGE_DRAIN_MS" => "0",
             "BRIDGE_LINK_MAX_FRAME_BYTES" => "65536",
             "BRIDGE_LINK_IN_FLIGHT" => "7",
             "BRIDGE_PORT" => "4100"
           }) ==
             {:ok,
              %Settings{
                workers: 2,
                python: "/opt/python",
                link_dir: "/run/links",
                implementations: %{"counter" => "/a=b/c:d.ex", "other" => "/o.ex"},
                contracts: ["/ours", "/yours"],
                parent_stdin: true,
                drain_ms: 0,
                link_max_frame_bytes: 65_536,
                link_in_flight: 7
              }}
  end

  test "a bad value is named with what was expected" do
    for {name, value, expected} <- [
          {"BRIDGE_NODE_WORKERS", "-1", "a whole number of at least 0"},
          {"BRIDGE_NODE_WORKERS", "2x", "a whole number of at least 0"},
          {"BRIDGE_LINK_MAX_FRAME_BYTES", "1", "a whole number of at least 65536"},
          {"BRIDGE_ELIXIR_SOURCES", "counter", "lines of name=value"}
        ] do
      assert Settings.parse(%{name => value}) ==
               {:error, "#{name}: expected #{expected}, got #{inspect(value)}"}
    end
  end
end
