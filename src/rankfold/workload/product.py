"""`Product`: a product of two computed values, such as those of attention, whose matrix no array can keep."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rankfold.workload.shape import ConvShape

# What is said of such work in `Untouched`.
NO_WEIGHT = "is left alone: no weight of it could stay on arrays"
PRODUCT = f"a product of two computed values {NO_WEIGHT}"
ATTENTION = f"attention {NO_WEIGHT}"


@dataclass(frozen=True, kw_only=True)
class Product:
    """For each image, several matrices are made, and each is multiplied by vectors.

    Of x @ y the matrices are those of y: of attention the keys of each head, (E, S), and its values, (S, D).

    Attributes:
        matrices: how many matrices there are, such as heads.
        inputs: rows of each.
        outputs: columns of each.
        vectors: vectors that meet each of them.
    """

    matrices: int
    inputs: int
    outputs: int
    vectors: int

    def of_one_image(self, batch: int) -> Product:
        """The share of an image in what a batch of images multiplies.

        The matrices are divided where there are as many or a multiple, else, being those of all images, what
        they meet.
        """
        if self.matrices % batch:
            return replace(self, vectors=max(1, self.vectors // batch))
        return replace(self, matrices=self.matrices // batch)

    @property
    def numbers(self) -> int:
        """Numbers in the matrices, which are new for every image."""
        return self.matrices * self.inputs * self.outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates for an image."""
        return self.numbers * self.vectors

    def shape(self, name: str) -> ConvShape:
        """The layer that it is once its matrices are stored: a group for each of them."""
        return ConvShape(
            name,
            self.matrices * self.inputs,
            self.matrices * self.outputs,
            (1, 1),
            (self.vectors, 1),
            groups=self.matrices,
            kind="linear",
        )
