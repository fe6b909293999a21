"""Delivering what `triage` decides: the setting, who delivers, and a receiver for each kind."""
