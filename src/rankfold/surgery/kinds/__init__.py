"""What surgery does with each kind of layer."""

from rankfold.surgery.kinds.kind import KindSurgery, Part, Replacement, surgery_of

__all__ = ["KindSurgery", "Part", "Replacement", "surgery_of"]
