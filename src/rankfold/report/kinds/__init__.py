"""What pictures, tables and colours say of each kind of layer."""

from rankfold.report.kinds.kind import KindPicture, PanelWords, families, family_of, picture_of

__all__ = ["KindPicture", "PanelWords", "families", "family_of", "picture_of"]
