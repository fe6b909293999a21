"""joelclaw as it is: its events observed, taken in, and handed back; its envelopes spoken."""

SUBSYSTEM = "triage"  # what its events become commands of, and whose decisions are delivered
