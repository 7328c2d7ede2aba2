"""A layer that keeps its module."""

from __future__ import annotations

from rankfold.surgery.kinds.kind import KindSurgery

PART = KindSurgery()
