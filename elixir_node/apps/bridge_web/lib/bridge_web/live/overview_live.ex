defmodule BridgeWeb.OverviewLive do
  @moduledoc "What runs: workers, nodes, Redis, subsystems with their owners, rates and errors."

  use BridgeWeb, :live_view

  alias BridgeWeb.{Drainer, Report, Workers}

  @look_ms 1_000

  @impl true
  def mount(_params, _session, socket) do
    if connected?(socket), do: :timer.send_interval(@look_ms, :look)
    {:ok, socket |> assign(page_title: "overview", report: nil) |> look()}
  end

  @impl true
  def handle_info(:look, socket), do: {:noreply, look(socket)}

  defp look(socket) do
    now_ms = System.monotonic_time(:millisecond)

    case Workers.status(socket.assigns.caller) do
      {:ok, told} ->
        report = Report.of(told, socket.assigns.report, now_ms)
        assign(socket, report: report, error: nil, sockets: Drainer.count())

      {:refused, _status, error} ->
        assign(socket, error: error["message"])

      {:error, error} ->
        assign(socket, error: error["message"])
    end
  end

  @impl true
  def render(assigns) do
    ~H"""
    <h1>bridge</h1>
    <p :if={@error} id="error" class="bad">{@error}</p>
    <div :if={@report}>
      <h2>Subsystems</h2>
      <.table id="subsystems" rows={@report.subsystems}>
        <:col :let={s} label="subsystem">
          <.link navigate={~p"/subsystems/#{s.name}"}>{s.name}</.link>
        </:col>
        <:col :let={s} label="state">
          <span class={if s.owner in s.served_by, do: "good", else: "bad"}>
            {if s.owner in s.served_by, do: "ok", else: "its owner does not serve it"}
          </span>
        </:col>
        <:col :let={s} label="owner">{s.owner}</:col>
        <:col :let={s} label="fallback">{s.fallback || "-"}</:col>
        <:col :let={s} label="epoch" class="number">{s.epoch}</:col>
        <:col :let={s} label="served by">{Enum.join(s.served_by, ", ")}</:col>
        <:col :let={s} label="commits/s" class="number">{s.rate}</:col>
      </.table>
      <h2>Workers</h2>
      <.table id="workers" rows={@report.workers}>
        <:col :let={w} label="worker"><code>{w.name}</code></:col>
        <:col :let={w} label="sockets" class="number">{w.sockets}</:col>
        <:col :let={w} label="topics" class="number">{w.topics}</:col>
        <:col :let={w} label="topics of nodes" class="number">{w.node_topics}</:col>
        <:col :let={w} label="in flight" class="number">{w.in_flight}</:col>
        <:col :let={w} label="commits/s" class="number">{w.rate}</:col>
        <:col :let={w} label="errors" class="number">{w.errors}</:col>
      </.table>
      <p id="sockets">
        Clients of this node: {@sockets}.
        <.link href={~p"/dashboard"}>LiveDashboard</.link>
        shows its processes and memory.
      </p>
      <h2>Nodes</h2>
      <p :if={@report.nodes == []} class="faint">none</p>
      <.table :if={@report.nodes != []} id="nodes" rows={@report.nodes}>
        <:col :let={n} label="node"><code>{n["node"]}</code></:col>
        <:col :let={n} label="serves" class="wide">{Enum.join(n["serves"], ", ")}</:col>
        <:col :let={n} label="state">
          <span class={if n["stalled"], do: "bad", else: "good"}>
            {if n["stalled"], do: "does not answer", else: "ok"}
          </span>
        </:col>
      </.table>
      <h2>Redis</h2>
      <p id="redis" class={@report.redis.bad? && "bad"}>{@report.redis.text}</p>
    </div>
    """
  end
end
