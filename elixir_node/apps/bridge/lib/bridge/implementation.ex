defmodule Bridge.Implementation do
  @moduledoc """
  What an implementation of a subsystem is: one function of state and message.

  It does no I/O, reads no clock and starts no process: time, ids and randomness come from
  the context (`message_id`, `key`, `now_ms`, `local`, `seed`, `deadline_ms`; see
  `Bridge.Determinism`). All values are JSON as terms: maps with string keys, lists, UTF-8
  binaries, integers within ±(2^53-1), floats, `true`, `false` and `nil`.
  """

  @type json ::
          nil | boolean | integer | float | String.t() | [json] | %{optional(String.t()) => json}
  @type effect :: %{String.t() => json}

  @doc """
  Return reply, effects and the key's next state, or refuse.

  For a query the effects are empty and the state is ignored. A `reason` must be declared in
  the operation's `errors`; `detail` is for programs, the client gets it. Raising is the implementation's fault, not a refusal.
  """
  @callback handle(state :: json, operation :: String.t(), request :: map, context :: map) ::
              {:ok, reply :: json, [effect], state :: json}
              | {:error, reason :: String.t(), message :: String.t()}
              | {:error, reason :: String.t(), message :: String.t(), detail :: map}

  @doc """
  Return a state that an older version of the contract wrote as this version has it.

  Called before anything else is done with the key, where the contract names `migrates_from`.
  """
  @callback migrate(state :: json, from_version :: pos_integer, context :: map) :: {:ok, json}

  @optional_callbacks migrate: 3
end
