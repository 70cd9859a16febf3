"""Rotations that give every channel the same share of the variance, which PHI-S needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]


def hadamard(order: int) -> F64 | None:
    """A normalized Hadamard matrix: orthogonal, every entry +-1 / sqrt(order).

    Constructions of Sylvester (1867) and Paley (1933, both, over prime fields), and their Kronecker
    products with the matrix of order 2.

    Args:
        order: Number of rows.

    Returns:
        (order, order), or None where these constructions give none; odd orders over 1 never have
        one.
    """
    signs = _signs(order)
    return None if signs is None else signs / np.sqrt(order)


def _signs(order: int) -> F64 | None:
    if order == 1:
        return np.ones((1, 1))
    if order < 1 or order % 2:
        return None
    pair = np.array([[1.0, 1.0], [1.0, -1.0]])
    if _is_prime(order - 1) and (order - 1) % 4 == 3:
        return np.eye(order) + _bordered(order - 1, antisymmetric=True)
    half = order // 2
    if _is_prime(half - 1) and (half - 1) % 4 == 1:
        core = _bordered(half - 1, antisymmetric=False)
        return np.kron(core, pair) + np.kron(np.eye(half), np.array([[1.0, -1.0], [-1.0, -1.0]]))
    smaller = _signs(half)
    return None if smaller is None else np.kron(pair, smaller)


def _bordered(prime: int, *, antisymmetric: bool) -> F64:
    """Paley's conference matrix of order prime + 1: Legendre symbols of i - j, bordered by ones."""
    residues = np.full(prime, -1.0)
    residues[np.arange(1, prime) ** 2 % prime] = 1
    residues[0] = 0
    line = np.arange(prime)
    matrix = np.zeros((prime + 1, prime + 1))
    matrix[1:, 1:] = residues[(line[:, None] - line) % prime]
    matrix[0, 1:] = 1
    matrix[1:, 0] = -1 if antisymmetric else 1
    return matrix


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def leveling(variances: F64) -> F64:
    """Find an orthogonal Q with constant diag(Q diag(variances) Q^T), without a Hadamard matrix.

    At most order - 1 plane rotations; each takes a channel below the mean and one above it and sets
    the first to the mean (Bendel & Mickey, Population correlation matrices for sampling
    experiments, 1978, section 2). Unlike a Hadamard matrix, Q depends on the variances.

    Args:
        variances: (C,) variances of uncorrelated channels.

    Returns:
        (C, C).
    """
    rotation = np.eye(len(variances))
    covariance = np.diag(variances.astype(np.float64))
    mean = float(variances.mean())
    left = list(range(len(variances)))
    while len(left) > 1:
        diagonal = covariance[left, left]
        i, j = left[int(diagonal.argmin())], left[int(diagonal.argmax())]
        low, high, cross = covariance[i, i] - mean, covariance[j, j] - mean, covariance[i, j]
        if low >= 0 or high <= 0:
            break
        tangent = (-cross + np.sqrt(cross**2 - low * high)) / high
        cos = 1 / np.sqrt(1 + tangent**2)
        turn = np.array([[cos, tangent * cos], [-tangent * cos, cos]])
        covariance[[i, j]] = turn @ covariance[[i, j]]
        covariance[:, [i, j]] = covariance[:, [i, j]] @ turn.T
        rotation[[i, j]] = turn @ rotation[[i, j]]
        left.remove(i)
    return rotation
