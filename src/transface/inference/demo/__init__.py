"""The page of `transface demo`."""
