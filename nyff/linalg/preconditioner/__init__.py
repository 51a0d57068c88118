"""Preconditioners, one file per idea."""
