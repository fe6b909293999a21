"""Functions with the outside world in them: what `call` effects ask for.

Yours is `async def name(request, call: Call) -> JSON`; raise NotRetryable where trying again is
no use.
"""

from bridge.activities.activity import Call, NotRetryable

__all__ = ["Call", "NotRetryable"]
