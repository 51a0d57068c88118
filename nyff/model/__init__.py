"""Trained models: prediction and files."""
