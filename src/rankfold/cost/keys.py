"""`CostKey`: what a cost is of, a family of layers under one mapping."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.mapping import MAPPINGS

# The family of layers that stay as they are; its costs go by the mapping's name alone in JSON and tables.
DENSE_FAMILY = "dense"
# `vw-sdk` before `sdk`, which it ends with.
_LONGEST_FIRST = sorted(MAPPINGS, key=len, reverse=True)


@dataclass(frozen=True, order=True)
class CostKey:
    """Under which mapping of which family of layers something was counted.

    Attributes:
        family: `dense`; or the family of a kind that is compared in ways of its own, such as `low-rank`.
        mapping: one of `rankfold.mapping.MAPPINGS`, or another word of the family, such as `shared`.
    """

    family: str
    mapping: str

    @classmethod
    def dense(cls, mapping: str) -> CostKey:
        """The key of a dense layer."""
        return cls(DENSE_FAMILY, mapping)

    @classmethod
    def parse(cls, text: str) -> CostKey:
        """Read what `str` wrote: `im2col` is of dense layers, `low-rank-sdk` of the family `low-rank`."""
        if text in MAPPINGS:
            return cls.dense(text)
        # Families have dashes too, so the text is read from its end.
        for mapping in _LONGEST_FIRST:
            if text.endswith(f"-{mapping}"):
                return cls(text.removesuffix(f"-{mapping}"), mapping)
        # A word that is no mapping, such as `shared` of `low-rank-shared`.
        family, dash, mapping = text.rpartition("-")
        if not dash:
            return cls.dense(text)
        return cls(family, mapping)

    def __str__(self) -> str:
        if self.family == DENSE_FAMILY:
            return self.mapping
        return f"{self.family}-{self.mapping}"


IM2COL = CostKey.dense("im2col")
