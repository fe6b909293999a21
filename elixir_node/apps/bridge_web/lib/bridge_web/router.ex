defmodule BridgeWeb.Router do
  use BridgeWeb, :router

  import Phoenix.LiveDashboard.Router

  pipeline :browser do
    plug :accepts, ["html"]
    plug :fetch_session
    plug :fetch_live_flash
    plug :put_root_layout, html: {BridgeWeb.Layouts, :root}
    plug :protect_from_forgery
    plug :put_secure_browser_headers
    plug BridgeWeb.Access
  end

  scope "/", BridgeWeb do
    pipe_through :browser

    live_session :default, on_mount: BridgeWeb.Access do
      live "/", OverviewLive
      live "/subsystems/:name", SubsystemLive
    end
  end

  scope "/" do
    pipe_through :browser

    live_dashboard "/dashboard", on_mount: [BridgeWeb.Access]
  end

  scope "/", BridgeWeb do
    get "/health", HealthController, :show
  end
end
