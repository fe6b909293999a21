"""A gateway worker, put together: the only place of the worker that constructs things."""
