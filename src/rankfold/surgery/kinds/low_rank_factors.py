"""From a layer's weight to its low-rank factors: the one way in which all networks are decomposed."""

from __future__ import annotations

import numpy as np

from rankfold.calibration.moments import PatchMoments
from rankfold.lowrank import LowRankFactors, decompose, decompose_for_data
from rankfold.plan.kinds import LowRankLayer
from rankfold.surgery.supported_weight import row_sparse_factors

Array = np.ndarray


def low_rank_factors(
    weight: Array,
    conv_groups: int,
    kind: LowRankLayer,
    moments: PatchMoments | None = None,
    support: Array | None = None,
) -> tuple[LowRankFactors, Array | None]:
    """The factors R_ and L of a weight, and the kernel positions that R_ keeps.

    Args:
        weight: (m, C_in/G, kh, kw); that of a fully connected layer is (m, n, 1, 1).
        conv_groups: G.
        kind: (g, r), and e where R_ keeps only some kernel positions.
        moments: of the layer's inputs, for which the factors are made; None: they are nearest to the
            weight, by grouped SVD.
        support: (C_in, kh*kw) booleans, the positions that R_ keeps; None: chosen together with the
            factors. Only a kind with e has them.

    Returns:
        The factors, and the support; None for a kind that keeps all positions.

    Raises:
        InputError: the weight or the moments are not finite, or (g, r) does not fit the layer.
    """
    size = conv_groups, kind.groups, kind.rank  # (G, g, r)
    # Which rows R_ has is chosen with the factors; without moments all inputs count alike there.
    if kind.entries is not None:
        return row_sparse_factors(weight, size, kind.entries, moments, support)
    if moments is None:
        return decompose(weight, *size), None
    return decompose_for_data(weight, *size, moments.second, cross=moments.cross), None
