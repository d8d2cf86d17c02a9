"""The report of attributes."""
