"""Where a decision may be delivered: one module for each kind of outlet."""
