"""The paper's table: steps at its n and k, beside its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from nyff.report.precond_style import Rows, grouped
from nyff.training.presets import REFERENCES


def paper_table(results: Rows) -> list[dict[str, Any]]:
    """Median steps over seeds for each molecule and method, beside the paper's."""
    table = []
    for (molecule, n_train, n, method, columns), rows in grouped(
        results, "molecule", "n_train", "n", "method", "columns"
    ):
        steps = [row["iterations"] for row in rows]
        reference = REFERENCES.get(rows[0]["formula"])
        if reference is not None and (reference.n_train, reference.columns) != (n_train, columns):
            reference = None
        table.append(
            {
                "molecule": molecule,
                "structures": n_train,
                "n": n,
                "columns": columns,
                "method": method,
                "steps": float(np.median(steps)),
                "fewest": min(steps),
                "most": max(steps),
                "seeds": len(rows),
                "converged": all(row["converged"] for row in rows),
                "worst_residual": max(row["true_relative_residual"] for row in rows),
                "gigabytes": max(row["preconditioner_bytes"] for row in rows) / 1e9,
                "build_s": float(np.median([row["build_s"] for row in rows])),
                "solve_s": float(np.median([row["solve_s"] for row in rows])),
                "paper_leverage": reference.leverage if reference else "",
                "paper_cholesky": reference.cholesky if reference else "",
                "paper_spectral": reference.spectral if reference else "",
                "goal": reference.goal if reference else "",
            }
        )
    return table
