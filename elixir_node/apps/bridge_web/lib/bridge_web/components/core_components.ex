defmodule BridgeWeb.CoreComponents do
  @moduledoc "What pages are made of."

  use Phoenix.Component

  @doc "A table of rows; on a narrow screen it scrolls by itself."
  attr :id, :string, required: true
  attr :rows, :list, required: true

  slot :col, required: true do
    attr :label, :string, required: true
    attr :class, :string
  end

  def table(assigns) do
    ~H"""
    <div class="scroll">
      <table id={@id}>
        <thead>
          <tr>
            <th :for={col <- @col} class={col[:class]}>{col.label}</th>
          </tr>
        </thead>
        <tbody>
          <tr :for={row <- @rows}>
            <td :for={col <- @col} class={col[:class]}>{render_slot(col, row)}</td>
          </tr>
        </tbody>
      </table>
    </div>
    """
  end

  @doc "A line over the last values, the newest to the right; its height is the largest of them."
  attr :id, :string, required: true
  attr :values, :list, required: true
  attr :label, :string, required: true

  def chart(assigns) do
    highest = Enum.max([1 | assigns.values])
    last = max(length(assigns.values) - 1, 1)

    points =
      assigns.values
      |> Enum.with_index()
      |> Enum.map_join(" ", fn {value, n} ->
        "#{Float.round(100 * n / last, 2)},#{Float.round(30 - 29 * value / highest, 2)}"
      end)

    assigns = assign(assigns, points: points, highest: Enum.max(assigns.values))

    ~H"""
    <figure id={@id} style="margin: 0">
      <figcaption class="faint">{@label}, the highest {@highest}</figcaption>
      <svg class="chart" viewBox="0 0 100 31" preserveAspectRatio="none" role="img">
        <polyline points={@points} />
      </svg>
    </figure>
    """
  end
end
