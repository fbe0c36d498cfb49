"""Decompositions of matrices: operations by the leading term in n**3 (Golub and Van Loan, Matrix Computations).

A point is one element of the matrix, so it costs that term over n**2, rounded up.
"""

from __future__ import annotations

from functools import partial
from math import ceil

from mmsim.layer import Layer
from mmsim.ops.nests import Problems, first, nest, reads, writes
from mmsim.ops.rule import Rule
from mmsim.size import concrete

WORK = {
    **dict.fromkeys(("cholesky", "linalg_cholesky", "linalg_cholesky_ex", "cholesky_ex"), 1 / 3),
    **dict.fromkeys(("linalg_lu_factor", "linalg_lu_factor_ex", "_linalg_det", "det", "linalg_det", "slogdet",
                     "linalg_slogdet", "_linalg_slogdet", "logdet", "linalg_solve", "_linalg_solve_ex",
                     "lu", "linalg_lu"), 2 / 3),
    **dict.fromkeys(("linalg_solve_triangular", "triangular_solve", "cholesky_solve"), 1),
    **dict.fromkeys(("inverse", "inv", "linalg_inv", "linalg_inv_ex", "inv_ex"), 2),
    **dict.fromkeys(("qr", "linalg_qr", "linalg_householder_product", "lstsq", "linalg_lstsq"), 4 / 3),
    **dict.fromkeys(("matrix_exp", "linalg_matrix_exp"), 10),  # degree 18 in 5 products; squarings depend on values
    **dict.fromkeys(("eigh", "linalg_eigh", "_linalg_eigh", "eigvalsh", "linalg_eigvalsh"), 9),
    **dict.fromkeys(("svd", "linalg_svd", "_linalg_svd", "svdvals", "linalg_svdvals", "pinv", "linalg_pinv"), 22),
    **dict.fromkeys(("eig", "linalg_eig"), 25),
}  # fmt: skip
"""kind -> operations over n**3."""


def decomposition(layer: Layer, *, work: float) -> Problems:
    """The matrices read, the results written, `work` n**3 operations each."""
    x = first(layer)
    n = min(concrete(size) for size in x.shape[-2:])
    results = [out for out in layer.outputs if out.shape == x.shape]
    accesses = (*reads(x, shape=x.shape), *writes(*results, shape=x.shape))
    return nest("vector", "linalg", x.shape, accesses, over=(len(x.shape) - 2, len(x.shape) - 1), ops=ceil(work * n))


ROWS: dict[str, Rule] = {kind: partial(decomposition, work=work) for kind, work in WORK.items()}
