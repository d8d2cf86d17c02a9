"""The report of a chain of stages under occlusion."""
