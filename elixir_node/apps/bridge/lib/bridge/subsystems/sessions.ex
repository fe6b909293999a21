defmodule Bridge.Subsystems.Sessions do
  @moduledoc """
  Leases of who is there: who neither renews nor leaves is gone when the lease expires.
  """

  @behaviour Bridge.Implementation

  @impl true
  def handle(%{"leases" => leases}, operation, request, %{"now_ms" => now_ms}) do
    answer(operation, leases, request, now_ms)
  end

  defp answer("register", leases, %{"id" => id} = request, now_ms) do
    # joelclaw takes the number for a process of its machine, and deletes the lists of dead ones.
    if id =~ ~r/\Apid-[0-9]+\z/ do
      {:error, "reserved_id", "#{id}: `pid-` and a number is joelclaw's own"}
    else
      register(leases, request, live(leases, id, now_ms), now_ms)
    end
  end

  defp answer("renew", leases, %{"id" => id}, now_ms) do
    with %{"ttl_ms" => ttl_ms} = lease <- known(leases, id, now_ms) do
      lease = %{lease | "expires_ms" => now_ms + ttl_ms}
      reply = Map.take(lease, ["expires_ms"])
      {:ok, reply, [timer(lease)], state(Map.put(leases, id, lease))}
    end
  end

  defp answer("leave", leases, %{"id" => id}, now_ms) do
    with %{} <- known(leases, id, now_ms) do
      effects = [left(id, "left"), %{"effect" => "cancel", "id" => "expire/#{id}"}]
      {:ok, %{}, effects, state(Map.delete(leases, id))}
    end
  end

  defp answer("expire", leases, %{"id" => id}, now_ms) do
    if not is_map_key(leases, id) or live(leases, id, now_ms) != nil do
      {:ok, %{"expired" => false}, [], state(leases)}
    else
      {:ok, %{"expired" => true}, [left(id, "expired")], state(Map.delete(leases, id))}
    end
  end

  defp answer("list", leases, request, now_ms) do
    sessions =
      for {_id, lease} <- Enum.sort(leases),
          lease["expires_ms"] > now_ms,
          request["kind"] in [nil, lease["kind"]],
          do: lease

    {:ok, %{"sessions" => sessions}, [], nil}
  end

  defp register(leases, %{"id" => id} = request, known, now_ms) do
    registered_ms = if known, do: known["registered_ms"], else: now_ms
    expires_ms = now_ms + request["ttl_ms"]
    times = %{"registered_ms" => registered_ms, "expires_ms" => expires_ms}
    lease = request |> Map.take(["id", "kind", "meta", "ttl_ms"]) |> Map.merge(times)

    reply = %{"status" => if(known, do: "renewed", else: "joined"), "expires_ms" => expires_ms}
    # Known and not live: it has expired, and its timer is late.
    left = if known == nil and is_map_key(leases, id), do: [left(id, "expired")], else: []
    joined = if known == nil, do: [joined(lease)], else: []
    {:ok, reply, left ++ joined ++ [timer(lease)], state(Map.put(leases, id, lease))}
  end

  # A lease's time decides, not whether its timer has run.
  defp live(leases, id, now_ms) do
    case leases do
      %{^id => %{"expires_ms" => expires_ms} = lease} when expires_ms > now_ms -> lease
      _ -> nil
    end
  end

  defp known(leases, id, now_ms) do
    live(leases, id, now_ms) ||
      {:error, "unknown_session", "#{id} has no lease, or it has expired"}
  end

  defp state(leases), do: %{"leases" => leases}

  defp timer(%{"id" => id, "expires_ms" => expires_ms}) do
    %{
      "effect" => "schedule",
      "id" => "expire/#{id}",
      "at_ms" => expires_ms,
      "operation" => "expire",
      "request" => %{"id" => id}
    }
  end

  defp joined(lease), do: emit("sessions.joined", Map.take(lease, ["id", "kind", "meta"]))
  defp left(id, reason), do: emit("sessions.left", %{"id" => id, "reason" => reason})

  defp emit(type, payload), do: %{"effect" => "emit", "type" => type, "payload" => payload}
end
