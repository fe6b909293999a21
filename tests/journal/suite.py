"""The behaviour every journal shows; one subclass for each implementation."""

from __future__ import annotations

from tests.journal.attempts import AttemptSuite
from tests.journal.commits import CommitSuite
from tests.journal.deliveries import DeliveriesSuite
from tests.journal.moves import MoveSuite
from tests.journal.outbox import OutboxSuite
from tests.journal.presence import PresenceSuite
from tests.journal.states import StatesSuite
from tests.journal.streams import StreamSuite
from tests.journal.timers import TimerSuite


class JournalSuite(
    CommitSuite,
    OutboxSuite,
    AttemptSuite,
    TimerSuite,
    StreamSuite,
    StatesSuite,
    DeliveriesSuite,
    MoveSuite,
    PresenceSuite,
):
    """All of it. Import this module, not the class, or pytest collects the class itself."""
