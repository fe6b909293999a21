defmodule BridgeWeb.CoreComponents do
  @moduledoc "What pages are made of."

  use Phoenix.Component
end
