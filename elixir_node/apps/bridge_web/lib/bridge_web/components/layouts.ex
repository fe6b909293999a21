defmodule BridgeWeb.Layouts do
  @moduledoc "What is around every page."

  use BridgeWeb, :html

  embed_templates "layouts/*"
end
