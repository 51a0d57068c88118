"""Every preconditioner there is, on a real kernel matrix."""

from __future__ import annotations

import pytest
import torch

from nyff.errors import InputError, MemoryLimitError
from nyff.kernel.force_kernel import ForceKernel
from nyff.kernel.internal import InternalKernel
from nyff.linalg.cg import conjugate_gradient
from nyff.linalg.preconditioner.make import METHODS, PRECONDITIONERS, build_bytes, make_preconditioner
from nyff.linalg.preconditioner.spectral import leading_eigenpairs

LOW_RANK = [name for name, method in METHODS.items() if method.sized and name != "auto"]
SHIFTS = [1e-6, 1e-10, 1e-14]
K = 60


def make(problem, name: str, shift: float = 1e-8, columns: int = K, **options):
    # Only blocks of atoms need the kernel itself; its matrix is faster here.
    operator = problem.kernel if name == "jacobi-atom" else problem.dense
    return make_preconditioner(name, operator, shift, columns, n=problem.full, **options)


def vector(n: int, width: int | None = None) -> torch.Tensor:
    shape = (n,) if width is None else (n, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def test_names_are_those_of_the_comparison():
    assert set(PRECONDITIONERS) == {
        *(
            "auto",
            "none",
            "uniform",
            "leverage",
            "leverage-top",
            "leverage-bottom",
            "cholesky",
            "cholesky-then-uniform",
        ),
        *("rank-leverage", "spectral", "jacobi-structure", "jacobi-atom", "rpcholesky"),
    }


@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_the_inverse_is_symmetric_and_positive_definite(problem, name):
    dense = make(problem, name, 1e-6).apply(torch.eye(len(problem.matrix), dtype=torch.float64))
    # The default keeps a part of its factor in float32, and flexible CG forgives the asymmetry of its rounding.
    rounding = 1e-6 if name == "auto" else 1e-9
    assert float((dense - dense.T).abs().max()) < rounding * float(dense.abs().max())
    assert float(torch.linalg.eigvalsh((dense + dense.T) / 2).min()) > 0


@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_several_vectors_at_once_are_each_by_itself(problem, name):
    built = make(problem, name)
    v = vector(len(problem.matrix), 3)
    together = built.apply(v)
    for i in range(3):
        alone = built.apply(v[:, i].contiguous())
        torch.testing.assert_close(together[:, i], alone, rtol=0, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_the_argument_is_left_alone(problem, name):
    v = vector(len(problem.matrix))
    kept = v.clone()
    make(problem, name).apply(v)
    assert torch.equal(v, kept)


@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_the_same_seed_builds_the_same(problem, name):
    v = vector(len(problem.matrix))
    first, again, other = (make(problem, name, seed=seed).apply(v) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) is not METHODS[name].seeded


@pytest.mark.parametrize("name", PRECONDITIONERS)
@pytest.mark.parametrize("columns", [17, 60, 150])
def test_columns_promise_memory(problem, name, columns):
    built = make(problem, name, columns=columns)
    if METHODS[name].sized:
        assert built.bytes <= 8 * problem.full * columns
    held = [value for value in vars(built).values() if isinstance(value, torch.Tensor)]
    assert built.bytes == sum(tensor.untyped_storage().nbytes() for tensor in held)
    assert built.cost.peak_bytes >= built.bytes


@pytest.mark.parametrize("name", LOW_RANK)
def test_low_rank_ones_use_what_they_may(problem, name):
    assert make(problem, name).rank == K


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.full_matrix])
def test_without_the_full_matrix_only_columns_are_evaluated(counting, name):
    built = make_preconditioner(name, counting, 1e-8, K, n=324)
    assert counting.matrices == 0
    assert counting.products == built.cost.products == 0
    # A quarter for the sketch of leverage scores; some proposals of random pivoting are rejected; the default
    # evaluates more than it keeps.
    most = {"leverage": 1.25, "leverage-top": 1.25, "leverage-bottom": 1.25, "rpcholesky": 1.6, "auto": 5}.get(name, 1)
    assert counting.columns_evaluated <= most * K * METHODS[name].sized


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", LOW_RANK)
@pytest.mark.parametrize("form", ["shifted", "woodbury"])
def test_at_full_rank_it_is_the_inverse(problem, name, shift, form):
    n = len(problem.matrix)
    built = make(problem, name, shift, n, form=form)
    assert built.rank == n
    error = built.apply(problem.shifted(shift)) - torch.eye(n, dtype=torch.float64)
    # Rounding: ε w_max/μ. The Woodbury form divides by λ however large the smallest eigenvalue is.
    condition = float(problem.matrix.diagonal().sum()) / (shift if form == "woodbury" else float(built.values[-1]))
    assert float(error.abs().max()) < torch.finfo(torch.float64).eps * condition


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", [*LOW_RANK, "auto"])
def test_cg_converges_for_every_regularisation_in_fewer_steps(larger, name, shift):
    """With a third of the columns, on 30 structures; bare CG needs thousands of steps at the smaller shifts."""
    built = make_preconditioner(name, larger.dense, shift, 200, n=larger.full)
    solution = conjugate_gradient(
        larger.dense, larger.labels, shift=shift, precondition=built.apply, tolerance=1e-4, max_iterations=900
    )
    residual = larger.labels - larger.shifted(shift) @ solution.value
    assert float(residual.norm() / larger.labels.norm()) <= 1e-4
    assert solution.converged


@pytest.mark.parametrize("name", ["cholesky", "spectral", "jacobi-structure", "jacobi-atom", "rank-leverage", "auto"])
def test_the_order_of_structures_does_not_matter(problem, ethanol, name):
    """P⁻¹ of the reordered problem is the reordered P⁻¹, where nothing is random; at full rank also where it is."""
    kernel, order = problem.kernel.kernel, torch.tensor([3, 0, 11, 7, 1, 9, 2, 10, 4, 6, 8, 5])
    positions = torch.tensor(ethanol[:12].positions)
    moved = ForceKernel(positions[order], kernel.radial, kernel.permutations)
    operator = InternalKernel(moved, problem.kernel.basis[order])
    columns = len(problem.matrix) if METHODS[name].seeded else K
    there = make_preconditioner(name, operator, 1e-4, columns, n=problem.full)
    here = make_preconditioner(name, problem.kernel, 1e-4, columns, n=problem.full)
    v = vector(len(problem.matrix))

    def reorder(w: torch.Tensor) -> torch.Tensor:
        return w.view(12, -1)[order].reshape(-1)

    expected = reorder(here.apply(v))
    torch.testing.assert_close(there.apply(reorder(v)), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_shared_eigenpairs_change_nothing(problem, counting):
    eigen = leading_eigenpairs(problem.dense, 100)
    for name in ("spectral", "rank-leverage"):
        before = counting.matrices
        shared = make_preconditioner(name, counting, 1e-8, K, n=324, eigen=eigen)
        assert counting.matrices == before
        own = make_preconditioner(name, problem.dense, 1e-8, K, n=324)
        v = vector(len(problem.matrix))
        torch.testing.assert_close(
            shared.apply(v), own.apply(v), rtol=1e-6, atol=1e-6 * float(own.apply(v).abs().max())
        )


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.sized and not m.full_matrix])
@pytest.mark.parametrize("columns", [40, 200])
def test_memory_is_foreseen_and_refused_beyond_the_limit(larger, counting, name, columns):
    """The estimate bounds what is measured, and not by far."""
    built = make_preconditioner(name, larger.dense, 1e-8, columns, n=larger.full)
    estimate = build_bytes(name, len(larger.matrix), built.rank if name != "auto" else columns)
    assert built.cost.peak_bytes <= 1.1 * estimate
    assert estimate <= 6 * built.cost.peak_bytes
    with pytest.raises(
        MemoryLimitError, match=rf"{name} with 60 columns of 252 unknowns needs .*; ask for fewer columns"
    ):
        make_preconditioner(name, counting, 1e-8, 60, n=324, max_bytes=build_bytes(name, 252, 60) - 1)
    assert counting.columns_evaluated == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "nystrom"}, r"unknown preconditioner 'nystrom'; known are auto, none, uniform"),
        ({"form": "frangella"}, r"unknown form 'frangella' of a preconditioner; known are shifted, woodbury"),
        ({"columns": 0}, r"`columns` must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named(problem, options, message):
    with pytest.raises(InputError, match=message):
        make(problem, **{"name": "uniform", **options})
