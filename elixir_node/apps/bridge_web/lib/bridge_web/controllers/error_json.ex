defmodule BridgeWeb.ErrorJSON do
  @moduledoc "Errors of HTTP in the bridge's form."

  def render(template, _assigns) do
    message = Phoenix.Controller.status_message_from_template(template)
    code = if String.starts_with?(template, "404"), do: "unknown_topic", else: "internal"
    %{code: code, message: message, retryable: code == "internal", detail: %{}}
  end
end
