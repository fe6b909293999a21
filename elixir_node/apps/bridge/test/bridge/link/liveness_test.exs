defmodule Bridge.Link.LivenessTest do
  use ExUnit.Case, async: true

  alias Bridge.Link.Liveness

  defp tick(liveness, now_ms) do
    {what, liveness} = Liveness.tick(liveness, now_ms)
    send(self(), {now_ms, what})
    liveness
  end

  test "one ping at a time, the next one after its pong" do
    Liveness.new(1_000, 3_000, 0)
    |> tick(1_000)
    |> tick(2_000)
    |> Liveness.pong()
    |> tick(3_000)

    assert_received {1_000, :ping}
    assert_received {2_000, :wait}
    assert_received {3_000, :ping}
  end

  test "a peer that answers late again and again is not given up" do
    liveness =
      Enum.reduce(1..20, Liveness.new(1_000, 2_000, 0), fn n, liveness ->
        liveness = tick(liveness, n * 1_000)
        if rem(n, 3) == 0, do: Liveness.pong(liveness), else: liveness
      end)

    assert liveness.silent_ms <= 2_000
    refute_received {_, :silent}
  end

  test "a peer that is silent for longer is given up" do
    Liveness.new(1_000, 2_000, 0) |> tick(1_000) |> tick(2_000) |> tick(3_000) |> tick(4_000)
    assert_received {3_000, :wait}
    assert_received {4_000, :silent}
  end

  test "a late tick does not count: it was this side that was stopped" do
    Liveness.new(1_000, 2_000, 0)
    |> tick(1_000)
    |> tick(2_000)
    |> tick(60_000)
    |> tick(61_000)
    |> tick(62_000)
    |> tick(63_000)

    assert_received {60_000, :wait}
    assert_received {62_000, :wait}
    assert_received {63_000, :silent}
  end
end
