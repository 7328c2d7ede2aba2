"""What pictures, tables and colours say of each kind of layer."""

from rankfold.report.kinds.kind import (
    FAMILIES,
    KindPicture,
    PanelWords,
    picture_of,
)

__all__ = ["FAMILIES", "KindPicture", "PanelWords", "picture_of"]
