"""Labelled structures: reading, checking, splitting."""
