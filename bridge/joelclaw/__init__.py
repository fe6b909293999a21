"""joelclaw as it is: its events observed, taken in, and handed back; its envelopes spoken."""
