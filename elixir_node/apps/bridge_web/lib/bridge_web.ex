defmodule BridgeWeb do
  @moduledoc """
  The node's web part: Phoenix Channels for clients, pages for people.

  Its channels are a transport: joins and pushes go to a gateway worker over the link, which judges,
  commits and remembers. Use it as in any Phoenix application: `use BridgeWeb, :channel`,
  `use BridgeWeb, :live_view`.
  """

  @doc "Start the node with its web part and serve until it is told to stop."
  @spec main() :: no_return
  def main do
    # The node's telemetry writes the log; it does not tell of each request.
    Application.put_env(:logger, :default_handler, false)
    Application.put_env(:phoenix, :logger, false)

    case BridgeWeb.Settings.parse(System.get_env()) do
      {:ok, _settings} ->
        Bridge.Application.main([:bridge, :bridge_web])

      {:error, text} ->
        IO.puts(:stderr, text)
        System.halt(1)
    end
  end

  def static_paths, do: ~w(assets)

  def channel do
    quote do
      # What clients send is not logged.
      use Phoenix.Channel, log_join: false, log_handle_in: false
    end
  end

  def router do
    quote do
      use Phoenix.Router, helpers: false

      import Plug.Conn
      import Phoenix.Controller
      import Phoenix.LiveView.Router
    end
  end

  def controller do
    quote do
      use Phoenix.Controller, formats: [:html, :json]

      import Plug.Conn

      unquote(verified_routes())
    end
  end

  def live_view do
    quote do
      use Phoenix.LiveView

      unquote(html_helpers())
    end
  end

  def html do
    quote do
      use Phoenix.Component

      import Phoenix.Controller, only: [get_csrf_token: 0]

      unquote(html_helpers())
    end
  end

  def verified_routes do
    quote do
      use Phoenix.VerifiedRoutes,
        endpoint: BridgeWeb.Endpoint,
        router: BridgeWeb.Router,
        statics: BridgeWeb.static_paths()
    end
  end

  defp html_helpers do
    quote do
      import Phoenix.HTML
      import BridgeWeb.CoreComponents

      alias BridgeWeb.Layouts
      alias Phoenix.LiveView.JS

      unquote(verified_routes())
    end
  end

  @doc "When used, dispatch to the appropriate controller, live view, channel, and so on."
  defmacro __using__(which) when is_atom(which) do
    apply(__MODULE__, which, [])
  end
end
