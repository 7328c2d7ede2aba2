"""Shapes of vision transformers (Dosovitskiy et al., ICLR 2021; sizes Ti and S: Touvron et al., ICML 2021).

Names are those of Hugging Face's `ViTForImageClassification`; a test traces one and compares.
"""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.errors import InputError
from rankfold.workload.network import Network, Untouched
from rankfold.workload.product import ATTENTION, Product
from rankfold.workload.shape import ConvShape


@dataclass(frozen=True, kw_only=True)
class VisionTransformer:
    """The sizes of one.

    Attributes:
        width: of a token.
        heads: of each attention, which divide the width.
        blocks: attention and MLP, one after the other.
        hidden: width of the MLP's inner layer.
        patch: side of a patch of the image in pixels.
        image: side of the image in pixels.
        classes: it tells apart.
    """

    width: int
    heads: int
    blocks: int = 12
    hidden: int
    patch: int = 16
    image: int = 224
    classes: int = 1000

    @property
    def tokens(self) -> int:
        """One for each patch, and one for the class."""
        return (self.image // self.patch) ** 2 + 1

    def network(self, name: str) -> Network:
        """Its layers, and its attention."""
        side, patch = (self.image, self.image), (self.patch, self.patch)
        embedding = "vit.embeddings.patch_embeddings.projection"
        layers = [ConvShape(embedding, 3, self.width, patch, side, patch)]
        untouched = []
        for block in range(self.blocks):
            layers += self._block(f"vit.layers.{block}")
            untouched.append(self._attention(f"vit.layers.{block}.attention (attention)"))
        layers.append(_linear("classifier", self.width, self.classes, 1))
        return Network(name, (3, *side), tuple(layers), tuple(untouched))

    def _block(self, prefix: str) -> list[ConvShape]:
        """The layers of a block, each of which runs on every token."""
        width, hidden = self.width, self.hidden
        sizes = {f"attention.{part}_proj": (width, width) for part in "qkvo"}
        sizes |= {"mlp.fc1": (width, hidden), "mlp.fc2": (hidden, width)}
        return [_linear(f"{prefix}.{name}", *size, self.tokens) for name, size in sizes.items()]

    def _attention(self, name: str) -> Untouched:
        """The scores of all heads, and their use."""
        of_head = self.width // self.heads
        scores = Product(matrices=self.heads, inputs=of_head, outputs=self.tokens, vectors=self.tokens)
        used = Product(matrices=self.heads, inputs=self.tokens, outputs=of_head, vectors=self.tokens)
        return Untouched(name, ATTENTION, scores.macs + used.macs, 0, (scores, used))


VISION_TRANSFORMERS = {
    "vit-tiny": VisionTransformer(width=192, heads=3, hidden=768),
    "vit-small": VisionTransformer(width=384, heads=6, hidden=1536),
    "vit-base": VisionTransformer(width=768, heads=12, hidden=3072),
}


def vision_transformer(name: str) -> Network:
    """The network of that name, of patches of 16x16 pixels of images of 224x224.

    Raises:
        InputError: there is none.
    """
    if name not in VISION_TRANSFORMERS:
        raise InputError(f"unknown transformer {name}; known are {', '.join(VISION_TRANSFORMERS)}")
    return VISION_TRANSFORMERS[name].network(name)


def _linear(name: str, inputs: int, outputs: int, tokens: int) -> ConvShape:
    return ConvShape(name, inputs, outputs, (1, 1), (tokens, 1), kind="linear")
