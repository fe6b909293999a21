from __future__ import annotations

from bridge.cloud_event import envelope


def test_an_envelope_is_structured_cloud_events_1_0() -> None:
    event = envelope(
        id="m/0",
        source="/bridge/w",
        type="ran",
        subject="ключ",
        time_ms=1_767_225_600_007,
        data={"n": 1},
        seq=3,
    )
    assert event == {
        "specversion": "1.0",
        "id": "m/0",
        "source": "/bridge/w",
        "type": "ran",
        "subject": "ключ",
        "time": "2026-01-01T00:00:00.007Z",
        "datacontenttype": "application/json",
        "data": {"n": 1},
        "seq": 3,
    }
