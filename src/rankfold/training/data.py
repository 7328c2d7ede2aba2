"""Image data: any source that Hugging Face `datasets` reads, decoded once and kept in a mapped file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankfold.arguments import PATH, WHOLE, takes
from rankfold.errors import InputError
from rankfold.notebooks import in_brackets
from rankfold.training.cache import entry_of
from rankfold.training.image_folder import image_files
from rankfold.training.scaling import Scaling
from rankfold.training.share import ALL, Share
from rankfold.training.source import LabelledBatch, TrainingBatches, TrainingData
from rankfold.training.splits import DIGITS, SPLITS, Size
from rankfold.training.targets import ImageTargets

if TYPE_CHECKING:
    import torch

    from rankfold.training.recipe import Recipe


@dataclass(frozen=True)
class ImageSplit:
    """Decoded images of one split: `images` uint8 (N, H, W, C), `labels` int64 (N,); and `targets` beside
    images without labels, where there are any.
    """

    images: np.ndarray
    labels: np.ndarray
    targets: ImageTargets | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, count: int, seed: int, skip: int = 0) -> ImageSplit:
        """`count` images drawn without replacement (all, if there are fewer), in the split's order.

        With `skip`, they are others than the first `skip` that `seed` draws.
        """
        draw = np.random.default_rng(seed)
        drawn = draw.permutation(len(self))
        # Sorted: reads of a mapped file then go forward through it.
        chosen = np.sort(drawn[skip : skip + count])
        targets = None if self.targets is None else self.targets.of(chosen.tolist())
        return ImageSplit(self.images[chosen], self.labels[chosen], targets)


@dataclass(frozen=True)
class ImageData(TrainingData):
    """A data set ready for training.

    Attributes:
        name: what the user called it.
        classes: class names, in label order; none of images without labels, whose labels are all 0, until
            they get those of a network (`labelled_by`).
        train: training split.
        test: test split, used for evaluation only.
        mean: per-channel mean of the training pixels scaled to [0, 1].
        std: per-channel standard deviation of the same.
        mirror: whether a mirrored image still belongs to its class (false for digits).
        digest: hash of the decoded content, to recognise the same data again.
        labelled: whether the labels are those of the images, see `is_labelled`.
        normalised: whether mean and std were given, and are not those of the images.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSplit
    test: ImageSplit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _: KW_ONLY
    mirror: bool
    digest: str
    labelled: bool = True
    normalised: bool = False

    def __repr__(self) -> str:
        size = "x".join(map(str, self.input_size))
        counts = f"{self.train_images:,} and {self.test_images:,}"
        return in_brackets("ImageData", f"{counts} images of {size} to train and test, {self.name}")

    @property
    def is_labelled(self) -> bool:
        """Whether the samples have classes."""
        return self.labelled

    @property
    def has_targets(self) -> bool:
        """Whether there are classes, or files of targets beside images."""
        return self.labelled or self.train.targets is not None

    def require_targets(self) -> None:
        """As all data do, and read those that lie beside images.

        Raises:
            InputError: there are none, or those of an image are missing or damaged.
        """
        super().require_targets()
        for split in (self.train, self.test):
            if split.targets is not None:
                _ = split.targets.values

    def scaled(self, scaling: Scaling | None) -> ImageData:
        """The same images with another mean and deviation to be normalised by; None: with their own.

        Raises:
            InputError: it is for another number of channels.
        """
        if scaling is None:
            return self
        mean, std = scaling.of(len(self.mean), self.name)
        content = f"{self.digest} {mean} {std}"
        digest = hashlib.sha256(content.encode()).hexdigest()
        return replace(self, mean=mean, std=std, digest=digest, normalised=True)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, height, width, channels = self.train.images.shape
        return channels, height, width

    @property
    def train_images(self) -> int:
        """Images of the training split."""
        return len(self.train)

    @property
    def test_images(self) -> int:
        """Images of the test split."""
        return len(self.test)

    def few(self, images: int, seed: int) -> ImageData:
        """The same with so many training images, drawn under the seed.

        Raises:
            InputError: there are not so many.
        """
        if images > len(self.train):
            raise InputError(
                f"images (={images}) to learn from must be {len(self.train)} or fewer, as many as data "
                f"{self.name} have to train on"
            )
        return replace(self, train=self.train.sample(images, seed))

    def fitted(self, recipe: Recipe) -> Recipe:
        """The recipe for this data: images that have no mirror image, such as digits, are not mirrored.

        Raises:
            InputError: a batch is larger than the training split.
        """
        if recipe.epochs:
            recipe.check_images(len(self.train))
        # A mirrored 2 is no digit.
        if recipe.augment == "crop-flip" and not self.mirror:
            return replace(recipe, augment="crop")
        return recipe

    def example(self, device: torch.device) -> None:
        """None: every network takes an image of zeros."""

    # The modules below know batches, and batches know this one.

    def training_batches(self, recipe: Recipe, device: torch.device, share: Share = ALL) -> TrainingBatches:
        """The training split, shuffled and augmented anew in every epoch."""
        from rankfold.training.batches import Batches

        return Batches(
            self.train,
            self.mean,
            self.std,
            recipe.batch_size,
            device,
            augment=recipe.augment,
            seed=recipe.seed,
            shuffle=True,
            share=share,
        )

    def test_batches(self, device: torch.device, share: Share = ALL) -> Iterable[LabelledBatch]:
        """The test split, in its order."""
        return self.batches_of(self.test, device, share)

    def batches_of(
        self, split: ImageSplit, device: torch.device, share: Share = ALL
    ) -> Iterable[LabelledBatch]:
        """Images of a split, as the network takes them, and their labels, in its order; or lists of the
        targets beside them, where there are any and no share is asked for.
        """
        from rankfold.training.batches import Batches, evaluation_batch

        size = evaluation_batch(*self.input_size[1:])
        batches = Batches(split, self.mean, self.std, size, device, share=share).epoch()
        if split.targets is None or share != ALL:
            return batches
        known: Any = split.targets.values
        starts = range(0, len(known), size)
        pairs = zip(batches, starts, strict=True)
        return ((inputs, known[start : start + size]) for (inputs, _), start in pairs)

    def calibration_batches(self, images: int | None, device: torch.device, seed: int = 0) -> Iterable[Any]:
        """Training images without augmentation, in batches (B, C, H, W) to be gone through again and again.

        Args:
            images: how many; None: all.
            device: where the batches arrive.
            seed: which are drawn.
        """
        from rankfold.training.calibration import CalibrationImages

        if images is None:
            images = len(self.train)
        return CalibrationImages(self, device, seed, images)


@takes(source=PATH)
def load_images(
    source: str | Path,
    image_size: Size | None = None,
    cache: Path | None = None,
) -> ImageData:
    """Load a data set, decoding it into the cache the first time.

    Args:
        source: `digits` (shipped with scikit-learn), a folder of Parquet shards in the Hugging Face layout,
            a folder of images by split and class (`train/cat/1.png`, `test/cat/2.png`), a folder of images
            without labels (`1.png`, `2.png`, ..., of which every fifth is kept to measure on; or
            `train/1.png`, `test/2.png`; with targets for a metric in `1.json` or `1.npy`), or a hub id where
            there is a network.
        image_size: (H, W) to resize every image to (bicubic); needed when the images differ in size.
        cache: folder of decoded images; default `$RANKFOLD_CACHE`, else `~/.cache/rankfold`.

    Raises:
        InputError: the folder is missing or empty, has no usable columns or splits, or holds a corrupt image.
    """
    source = os.fspath(source)
    check_source(source, image_size)
    entry = entry_of(source, image_size, cache)
    if not entry.is_filled:
        entry.fill(source, image_size)
    meta = entry.meta()
    data = ImageData(
        source,
        tuple(meta["classes"]),
        ImageSplit(*entry.arrays("train")),
        ImageSplit(*entry.arrays("test")),
        tuple(meta["mean"]),
        tuple(meta["std"]),
        mirror=source != DIGITS,  # the one source whose classes are known; a mirrored 3 is no digit
        digest=meta["digest"],
        labelled=bool(meta["classes"]),
    )
    return data if data.is_labelled else _with_targets(data)


def _with_targets(data: ImageData) -> ImageData:
    """Images of a folder with the targets that lie beside them, if any do."""
    files = image_files(data.name) or {}
    both = ImageTargets.beside([image for images in files.values() for image in images])
    if both is None:
        return data
    train, test = (
        replace(split, targets=ImageTargets(tuple(files[name])))
        for name, split in zip(SPLITS, (data.train, data.test), strict=True)
    )
    digest = hashlib.sha256(f"{data.digest} {both.digest}".encode()).hexdigest()
    return replace(data, train=train, test=test, digest=digest)


def check_source(source: str, image_size: Size | None) -> None:
    """Refuse names that no data set can have, and sizes that no image has.

    Raises:
        InputError: it is one.
    """
    if not source.strip():
        raise InputError("data (=) is empty; give a folder, `digits`, or a hub id such as owner/name")
    if image_size is not None:
        pair = isinstance(image_size, (tuple, list)) and len(image_size) == 2
        if not pair or not all(map(WHOLE.fits, image_size)):
            raise InputError(f"image_size (={image_size}) must be (H, W), two whole numbers")
    if image_size is not None and min(image_size) < 1:
        height, width = image_size
        raise InputError(f"image size (={height}x{width}) must be at least 1x1")
    if source != DIGITS and not Path(source).is_dir() and not _may_be_hub_id(source):
        raise InputError(
            f"data folder {source} does not exist; give a folder of Parquet shards or of images by class, "
            "`digits`, or a hub id such as owner/name"
        )


def _may_be_hub_id(source: str) -> bool:
    """Whether `source` looks like owner/name, and not like a path into a folder that is there."""
    # A path that is there in part is a misspelt path, not an owner on the hub.
    owner, slash, name = source.partition("/")
    if not (slash and owner and name) or "/" in name:
        return False
    if source[0] in "./~":
        return False
    return not Path(owner).exists()
