"""Linear operators, solvers and preconditioners; knows nothing of molecules."""
