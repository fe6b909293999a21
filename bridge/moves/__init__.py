"""Moving a live subsystem: who gets which message, when a share grows, and what decides it.

No I/O here, no clock, no randomness.
"""
