"""The force kernel of a molecule: descriptor, radial functions, symmetry, operator."""
