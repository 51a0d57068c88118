"""Simulations with a trained model, on the integrators and optimisers of ASE."""
