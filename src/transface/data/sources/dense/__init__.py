"""Photographs with points or regions, in the forms in which their data sets are published."""
