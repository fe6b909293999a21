defmodule Agents do
  @moduledoc """
  Loops of programming agents over the stories of a project; the key is the project.

  A loop plans its stories and takes each through the steps of `@steps`. Every step is an activity;
  what comes of it is the command `stepped`, which looks up there what is next.
  """

  @behaviour Bridge.Implementation

  # Who may be in a step (`project`: one loop of the project at a time), how long it may take and
  # its claim lasts, what its activity is told and makes, and what is next: `done`; `no`, a reply
  # that it did not pass; `error`, no reply. That is a step, or what happens: pass, retry or fail
  # the story, give_up the loop.
  @steps """
  step       one_per  minutes  told                       makes     done       no     error
  plan       loop     60       goal                       stories   tests      -      give_up
  tests      project  60       goal,story                 tests     implement  -      fail
  implement  loop     120      story,tests,tool,feedback  commit    review     -      retry
  review     project  60       story,commit               review    judge      -      retry
  judge      project  60       story,tests,commit,review  feedback  pass       retry  retry
  """

  @table (
           [head | rows] = String.split(@steps, "\n", trim: true)
           names = head |> String.split() |> Enum.map(&String.to_atom/1)

           for row <- rows, into: %{} do
             row = names |> Enum.zip(String.split(row)) |> Map.new()
             minutes = String.to_integer(row.minutes)
             {row.step, Map.merge(row, %{told: String.split(row.told, ","), minutes: minutes})}
           end
         )

  @max_loops 100
  @max_text 2000
  @no_work %{"tests" => "", "commit" => "", "review" => "", "feedback" => ""}

  @impl true
  def handle(state, operation, request, %{"now_ms" => now_ms}) do
    # The state and the effects of this message so far, last first.
    project = %{state: state, effects: [], now_ms: now_ms}

    case answer(operation, request, project) do
      {reply, project} -> {:ok, reply, Enum.reverse(project.effects), project.state}
      {:error, _, _} = refusal -> refusal
    end
  end

  # -- operations ------------------------------------------------------------------------------
  defp answer("start", %{"loop" => name, "goal" => goal, "tools" => tools}, project) do
    with :ok <- free(name, project), %{} = project <- make_room(project) do
      loop = %{
        "goal" => goal,
        "tools" => tools,
        "status" => "running",
        "step" => "",
        "waiting" => false,
        "story" => 0,
        "stories" => [],
        "retries" => 0,
        "work" => @no_work,
        "started_ms" => project.now_ms,
        "ended_ms" => 0
      }

      project =
        project
        |> put(name, loop)
        |> emit("loop.started", %{"loop" => name, "goal" => goal})
        |> enter(name, "plan")

      {%{"loop" => name}, project}
    end
  end

  defp answer("cancel", %{"loop" => name}, project) do
    case loop(project, name) do
      nil ->
        unknown(name)

      %{"status" => "running"} ->
        project =
          project
          |> effect(%{"effect" => "cancel", "id" => name})
          |> leave(name)
          |> finish(name, "cancelled", "")

        {%{"cancelled" => true}, project}

      _ ->
        {%{"cancelled" => false}, project}
    end
  end

  # Take what came of a step, and do what the table has for it.
  defp answer("stepped", %{"id" => name} = request, project) do
    case loop(project, name) do
      %{"status" => "running", "step" => at} ->
        row = @table[at]

        {outcome, what, why} =
          case request do
            %{"reply" => %{"passed" => false, "feedback" => why}} -> {"no", row.no, why}
            %{"reply" => _} -> {"done", row.done, ""}
            %{"error" => %{"message" => why}} -> {"error", row.error, why}
          end

        why = cut(why)
        ended = %{"loop" => name, "step" => at, "outcome" => outcome, "why" => why}

        project =
          project
          |> keep(name, at, request["reply"])
          |> emit("step.ended", ended)
          |> leave(name)
          |> next(what, name, why)

        {%{"step" => loop(project, name)["step"]}, project}

      _ ->
        {%{"step" => ""}, project}
    end
  end

  defp answer("status", %{"loop" => name}, project) do
    case loop(project, name) do
      nil -> unknown(name)
      loop -> {loop, project}
    end
  end

  defp answer("list", _request, project) do
    rows = for {name, loop} <- Enum.sort(project.state["loops"]), do: row(name, loop)
    {%{"loops" => rows}, project}
  end

  # -- what the table names --------------------------------------------------------------------
  defp next(project, "pass", name, _why), do: end_story(project, name, "passed")
  defp next(project, "fail", name, _why), do: end_story(project, name, "failed")
  defp next(project, "give_up", name, why), do: finish(project, name, "failed", why)

  # Implement it again, with the next tool of the ladder, if there is one.
  defp next(project, "retry", name, _why) do
    project = change(project, name, &%{&1 | "retries" => &1["retries"] + 1})
    loop = loop(project, name)

    if loop["retries"] == length(loop["tools"]) do
      end_story(project, name, "failed")
    else
      retried = %{
        "loop" => name,
        "story" => told("story", loop)["id"],
        "tool" => told("tool", loop)
      }

      project |> emit("story.retried", retried) |> enter(name, "implement")
    end
  end

  defp next(project, step, name, _why) do
    loop = loop(project, name)

    if loop["story"] < length(loop["stories"]),
      do: enter(project, name, step),
      else: complete(project, name)
  end

  # -- steps -----------------------------------------------------------------------------------
  # Begin a step, or wait until no other loop of the project is in it.
  defp enter(%{now_ms: now_ms} = project, name, step) do
    project = change(project, name, &%{&1 | "step" => step})

    case project.state["claims"] do
      %{^step => %{"until_ms" => until_ms}} when until_ms > now_ms ->
        project
        |> change(name, &%{&1 | "waiting" => true})
        |> waiting(step, &(&1 ++ [name]))

      _ ->
        start(project, name, step)
    end
  end

  defp start(project, name, step) do
    %{one_per: one_per, minutes: minutes, told: told} = @table[step]
    lasts_ms = minutes * 60_000
    project = change(project, name, &%{&1 | "waiting" => false})
    claim = %{"loop" => name, "until_ms" => project.now_ms + lasts_ms}

    project =
      if one_per == "project", do: claims(project, &Map.put(&1, step, claim)), else: project

    loop = loop(project, name)
    story = if step == "plan", do: "", else: told("story", loop)["id"]

    project
    |> emit("step.started", %{"loop" => name, "step" => step, "story" => story})
    |> effect(%{
      "effect" => "call",
      "id" => name,
      "to" => step,
      "request" => for(member <- told, into: %{"loop" => name}, do: {member, told(member, loop)}),
      "then" => "stepped",
      "timeout_ms" => lasts_ms
    })
  end

  # Give the loop's claim to the one that has waited longest, or its place in line up.
  defp leave(project, name) do
    step = loop(project, name)["step"]
    line = project.state["waiting"][step] || []

    cond do
      name in line ->
        waiting(project, step, &List.delete(&1, name))

      get_in(project.state, ["claims", step, "loop"]) == name ->
        project = claims(project, &Map.delete(&1, step))

        case line do
          [] -> project
          [first | rest] -> project |> waiting(step, fn _ -> rest end) |> start(first, step)
        end

      true ->
        project
    end
  end

  defp told("goal", loop), do: loop["goal"]
  defp told("tool", loop), do: Enum.at(loop["tools"], loop["retries"])

  defp told("story", loop),
    do: loop["stories"] |> Enum.at(loop["story"]) |> Map.take(["id", "title"])

  defp told(member, loop), do: loop["work"][member]

  defp keep(project, _name, _step, nil), do: project

  defp keep(project, name, "plan", %{"stories" => stories}) do
    stories = for story <- stories, do: Map.put(story, "status", "open")
    change(project, name, &%{&1 | "stories" => stories})
  end

  defp keep(project, name, step, reply) do
    makes = @table[step].makes
    change(project, name, &put_in(&1, ["work", makes], reply[makes]))
  end

  # -- ends ------------------------------------------------------------------------------------
  defp end_story(project, name, status) do
    %{"story" => at, "retries" => retries} = loop = loop(project, name)
    ended = %{"loop" => name, "story" => told("story", loop)["id"], "retries" => retries}
    stories = List.update_at(loop["stories"], at, &%{&1 | "status" => status})
    after_it = %{"stories" => stories, "story" => at + 1, "retries" => 0, "work" => @no_work}

    project
    |> emit("story.#{status}", ended)
    |> put(name, Map.merge(loop, after_it))
    |> next("tests", name, "")
  end

  defp complete(project, name) do
    failed = row(name, loop(project, name))["failed"]
    finish(project, name, if(failed > 0, do: "failed", else: "completed"), "")
  end

  defp finish(project, name, status, why) do
    loop = loop(project, name)
    ended = %{"status" => status, "step" => "", "waiting" => false, "work" => @no_work}
    row = row(name, loop)

    project
    |> put(name, loop |> Map.merge(ended) |> Map.put("ended_ms", project.now_ms))
    |> emit(
      "loop.#{status}",
      row |> Map.take(["loop", "passed", "failed"]) |> Map.put("why", why)
    )
  end

  defp free(name, project) do
    if loop(project, name), do: {:error, "loop_exists", "#{name} is a loop already"}, else: :ok
  end

  defp make_room(%{state: %{"loops" => loops}} = project) when map_size(loops) < @max_loops,
    do: project

  defp make_room(%{state: %{"loops" => loops}} = project) do
    case Enum.sort(for {name, %{"ended_ms" => at}} <- loops, at > 0, do: {at, name}) do
      [] -> {:error, "too_many", "#{@max_loops} loops of this project run"}
      [{_at, oldest} | _] -> put_in(project.state["loops"], Map.delete(loops, oldest))
    end
  end

  defp unknown(name), do: {:error, "unknown_loop", "there is no loop #{name}"}

  defp row(name, %{"status" => status, "step" => step, "stories" => stories}) do
    counts =
      Map.new(~w(passed failed open), &{&1, Enum.count(stories, fn s -> s["status"] == &1 end)})

    Map.merge(counts, %{"loop" => name, "status" => status, "step" => step})
  end

  # -- the project -----------------------------------------------------------------------------
  defp loop(project, name), do: project.state["loops"][name]
  defp put(project, name, loop), do: put_in(project.state["loops"][name], loop)
  defp change(project, name, change), do: put(project, name, change.(loop(project, name)))
  defp claims(project, change), do: update_in(project.state["claims"], change)
  defp waiting(project, step, change), do: update_in(project.state["waiting"][step], change)
  defp effect(project, effect), do: update_in(project.effects, &[effect | &1])

  defp emit(project, type, payload),
    do: effect(project, %{"effect" => "emit", "type" => type, "payload" => payload})

  defp cut(text), do: text |> String.codepoints() |> Enum.take(@max_text) |> Enum.join()
end
