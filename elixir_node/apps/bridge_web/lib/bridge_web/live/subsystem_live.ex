defmodule BridgeWeb.SubsystemLive do
  @moduledoc "One subsystem: its route, its rate, and the events of a key as they come."

  use BridgeWeb, :live_view

  alias BridgeWeb.{Endpoint, Report, Topics, Workers}
  alias Phoenix.Socket.Broadcast

  @look_ms 1_000
  @rates 60
  @events 50

  @impl true
  def mount(%{"name" => name}, _session, socket) do
    if connected?(socket), do: :timer.send_interval(@look_ms, :look)

    socket =
      socket
      |> assign(page_title: name, name: name, report: nil, topic: nil, error: nil)
      |> assign(rates: List.duplicate(0.0, @rates), one: nil)
      |> stream(:events, [])

    {:ok, look(socket)}
  end

  @impl true
  def handle_params(params, _uri, socket) do
    key = Map.get(params, "key", "main")
    {:noreply, socket |> assign(:key, key) |> follow("#{socket.assigns.name}:#{key}")}
  end

  @impl true
  def handle_event("key", %{"key" => key}, socket) do
    to = ~p"/subsystems/#{socket.assigns.name}?#{%{key: key}}"
    {:noreply, push_patch(socket, to: to)}
  end

  @impl true
  def handle_info(:look, socket), do: {:noreply, look(socket)}

  # Of no commit: it has no number.
  def handle_info(%Broadcast{topic: topic, event: "presence_diff"} = diff, socket)
      when topic == socket.assigns.topic do
    row = %{"type" => diff.event, "payload" => diff.payload}
    id = "presence-#{System.unique_integer([:positive])}"
    {:noreply, stream_insert(socket, :events, %{id: id, row: row}, at: 0, limit: @events)}
  end

  def handle_info(%Broadcast{topic: topic} = event, %{assigns: %{topic: topic}} = socket) do
    row = Map.merge(event.payload, %{"type" => event.event, "key" => socket.assigns.key})
    id = "#{row["key"]}-#{row["seq"]}-#{row["n"]}"
    {:noreply, stream_insert(socket, :events, %{id: id, row: row}, at: 0, limit: @events)}
  end

  # Events are missing, or the topic went on elsewhere: it is followed anew.
  def handle_info(:expel, socket) do
    Process.send_after(self(), :again, @look_ms)
    {:noreply, socket}
  end

  def handle_info(:again, socket) do
    topic = socket.assigns.topic
    {:noreply, socket |> unfollow() |> follow(topic)}
  end

  def handle_info(_other, socket), do: {:noreply, socket}

  defp follow(%{assigns: %{topic: topic}} = socket, topic), do: socket

  defp follow(socket, topic) do
    socket = socket |> unfollow() |> stream(:events, [], reset: true)

    if connected?(socket) do
      :ok = Endpoint.subscribe(topic)

      case Topics.follow(topic) do
        {:ok, _position} -> assign(socket, topic: topic, error: nil)
        {:error, error} -> assign(socket, topic: topic, error: error["message"])
      end
    else
      socket
    end
  end

  defp unfollow(%{assigns: %{topic: nil}} = socket), do: socket

  defp unfollow(%{assigns: %{topic: topic}} = socket) do
    :ok = Endpoint.unsubscribe(topic)
    :ok = Topics.unfollow(topic)
    assign(socket, :topic, nil)
  end

  defp look(socket) do
    now_ms = System.monotonic_time(:millisecond)

    with {:ok, told} <- Workers.status(socket.assigns.caller),
         report = Report.of(told, socket.assigns.report, now_ms),
         %{} = one <- Report.subsystem(report, socket.assigns.name) do
      rates = Enum.drop(socket.assigns.rates, 1) ++ [one.rate]
      assign(socket, report: report, one: one, rates: rates)
    else
      _away -> socket
    end
  end

  @impl true
  def render(assigns) do
    ~H"""
    <p><.link navigate={~p"/"}>overview</.link></p>
    <h1>{@name}</h1>
    <.table :if={@one} id="route" rows={[@one]}>
      <:col :let={s} label="owner">{s.owner}</:col>
      <:col :let={s} label="fallback">{s.fallback || "-"}</:col>
      <:col :let={s} label="epoch" class="number">{s.epoch}</:col>
      <:col :let={s} label="served by">{Enum.join(s.served_by, ", ")}</:col>
      <:col :let={s} label="commits/s" class="number">{s.rate}</:col>
    </.table>
    <h2>Commits per second</h2>
    <.chart id="rates" values={@rates} label="last minute" />
    <h2>Events</h2>
    <form phx-submit="key">
      <label>key <input name="key" value={@key} maxlength="200" /></label>
    </form>
    <p :if={@error} id="error" class="bad">{@error}</p>
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th class="number">seq</th>
            <th>type</th>
            <th>payload</th>
          </tr>
        </thead>
        <tbody id="events" phx-update="stream">
          <tr :for={{id, %{row: row}} <- @streams.events} id={id}>
            <td class="number">{row["seq"]}</td>
            <td>{row["type"]}</td>
            <td class="wide"><code>{Phoenix.json_library().encode!(row["payload"])}</code></td>
          </tr>
        </tbody>
      </table>
    </div>
    """
  end
end
