"""Parts of a plane as candidates: that they lose what those of surgery do, and for fewer cycles."""

from dataclasses import replace

import pytest

from common.planned_layers import problem, studied
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_matrix import filling_window, window_cycles, window_weight
from rankfold.plan import WindowMarginsLayer
from rankfold.planning.kinds import candidates_of
from rankfold.surgery.kinds.window_margins import PART as MARGINS


def test_planes_in_parts_lose_what_those_of_surgery_do():
    """Planes of 7x7, strided and in groups among them, on arrays whose windows do not divide them."""
    slots, model, found, costing = problem(4, ArraySpec(16, 24), side=7, kinds={"window-margins"})
    part, seen = candidates_of(WindowMarginsLayer), set()
    for slot, conv, layer, windows in studied(slots, model, found):
        entries = list(part.entries(slot, None))
        for entry in (*entries[::24], *entries[-1:]):
            entry.kind.check(slot.shape)
            kind = part.settled(entry.kind, layer)
            known = [windows[place] for place in part.made_for(kind)]
            moments = [one.weighed_moments.centred() for one in known]
            together = replace(moments[0], others=tuple(moments[1:]))
            # Surgery makes the same of the plan, and chooses the same inputs where it names none.
            for one in (kind, entry.kind):
                module = MARGINS.replace(replace(entry, kind=one), conv, together, None).module
                lost = 0.0
                for own, sensitive in zip(module.each, known, strict=True):
                    copies = window_weight(layer.weight, conv.groups, conv.stride, conv.dilation, own.window)
                    lost += predicted_loss(copies, own.weight.detach().numpy().astype(float), sensitive)
                assert part.loss(kind, layer, found.layers[slot.name]) == pytest.approx(
                    lost, rel=1e-5, abs=1e-12
                )
            # No windows that overhang the plane cost as little.
            rows = max((own.rows or 0 for own in kind.parts), default=0) or None
            cycles = costing.candidate(replace(entry, kind=kind)).cycles
            fewest = filling_window([slot.shape], slot.array, 99 if rows is None else rows // 16)
            assert cycles < window_cycles(slot.shape, fewest, slot.array, rows)
            seen.add((conv.groups > 1, rows is None))
    assert seen >= {(False, False), (True, False), (False, True)}
