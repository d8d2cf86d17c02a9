"""The verbs of `transface pack`."""
