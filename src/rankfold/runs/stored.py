"""Compressed networks in folders, of finished runs and of `save` alike, with the data that they are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from rankfold import run_files
from rankfold.calibration.output_choice import usual_outputs
from rankfold.calibration.outputs import SCORES
from rankfold.errors import InputError
from rankfold.models.load import check_trusted, load_model, read_weights
from rankfold.models.pretrained import file_digest
from rankfold.plan import Plan, check_plan
from rankfold.runs.evaluate import load_data_for, load_run
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import Result
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.saving import load_
from rankfold.training.data import ImageData, load_images
from rankfold.training.device import choose_device
from rankfold.training.unlabelled import labelled_by
from rankfold.workload import Network, retrace


@dataclass(frozen=True, kw_only=True)
class StoredNetwork:
    """A compressed network that was read from a folder.

    Attributes:
        model: the network, in eval mode.
        plan: its plan.
        factory: what builds the dense network, see `load_model`.
        classes: how many it tells apart.
        run: the run's identity, or a hash of the weights.
        result: of the run; None: the folder is one of `save`.
        data: what it is tested on, if data was asked for.
    """

    model: nn.Module
    plan: Plan
    factory: str
    classes: int
    run: str
    result: Result | None = None
    data: ImageData | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        factory: str | None = None,
        data: str | None = None,
        device: str = "cpu",
        trust_code: bool = False,
    ) -> StoredNetwork:
        """The network in a folder.

        Args:
            path: the folder of a finished run, or one of `save`.
            factory: what builds the dense network; None: the name on record.
            data: a data source, as `load_images` takes it; None: none is loaded.
            device: where the network goes.
            trust_code: whether a factory that the folder names may be imported, which runs code of whoever
                wrote it; not asked where `factory` is given.

        Raises:
            InputError: a file is missing, damaged or of another network, nothing builds the network, or the
                data has other classes or image sizes.
        """
        folder = RunFolder(Path(path), "")
        if factory is None:
            _check_record(folder, trust_code)
        if folder.result.exists():
            return cls._of_run(folder, factory, data, device)
        # Folders of runs that are under way have plans too, but are claimed.
        if folder.marker.exists() or not (folder.path / run_files.PLAN).is_file():
            load_run(path, trust_code=trust_code)  # says what is missing
        return cls._of_save(folder.path, factory, data, device)

    @classmethod
    def _of_run(cls, folder: RunFolder, factory: str | None, data: str | None, device: str) -> StoredNetwork:
        result = Result.load(folder.result)
        classes = max(1, len(result.data.classes))
        given = None
        if factory is not None:
            given = load_model(factory, classes, result.input[0], image=result.input)
        # Whether the name on record is trusted has been asked by now.
        model, plan, _ = load_run(folder.path, device, model=given, trust_code=True)
        images = None
        if data is not None:
            images = _labelled(load_data_for(result, data, folder.path), model, device)
        return cls(
            model=model,
            plan=plan,
            factory=factory or result.model,
            classes=classes,
            run=result.run,
            result=result,
            data=images,
        )

    @classmethod
    def _of_save(cls, path: Path, factory: str | None, data: str | None, device: str) -> StoredNetwork:
        target = choose_device(device)
        plan = Plan.load(path / run_files.PLAN)
        # By its own files, so that a factory need not be told how many classes there are.
        classes = stored_classes(path, plan)
        images = None
        if data is not None:
            images = data_for(plan, classes, data, path)
        model, _ = dense_network(path, plan, factory, classes)
        plan = load_(model, path)
        if images is not None:
            images = _labelled(images, model, device)
        return cls(
            model=model.to(target).eval(),
            plan=plan,
            factory=factory or plan.model,
            classes=classes,
            run=file_digest(path / run_files.WEIGHTS),
            data=images,
        )


def _labelled(images: ImageData, model: nn.Module, device: str) -> ImageData:
    """Images without labels with those that the network gives them; others as they are.

    Raises:
        InputError: it gives no scores of classes.
    """
    if images.is_labelled:
        return images
    target = choose_device(device)
    model = model.to(target)
    if usual_outputs(model, images.calibration_batches(1, target)).kind != SCORES:
        raise InputError(
            f"data {images.name} have no labels, and the network gives no scores of classes that could stand "
            "in for them"
        )
    return labelled_by(images, model, target)


def _check_record(folder: RunFolder, trust_code: bool) -> None:
    """Refuse the name on record where it is of code that the user does not trust.

    Raises:
        InputError: it is; or the file that has the name is damaged.
    """
    # A run's result names the network, and its plan too; of `save` there is a plan alone.
    if folder.result.exists():
        check_trusted(Result.load(folder.result).model, folder.path, trust_code)
    if folder.plan.is_file():
        check_trusted(Plan.load(folder.plan).model, folder.path, trust_code)


def dense_network(path: Path, plan: Plan, factory: str | None, classes: int) -> tuple[nn.Module, Network]:
    """The dense network of the plan in a folder, with fresh weights, and its trace.

    Args:
        path: the folder, for messages.
        plan: its plan.
        factory: what builds the network; None: the name in the plan.
        classes: how many it tells apart.

    Raises:
        InputError: nothing builds it, or what is built is another network.
    """
    name = factory or plan.model
    try:
        model = load_model(name, classes, plan.input[0], image=plan.input)
    except InputError as error:
        if factory is not None:
            raise
        raise InputError(
            f"the network of {path} cannot be built by its name, {name}: {error}. Name what builds it, "
            "factory='package.module:factory'"
        ) from error
    network = retrace(model, plan.model, plan.input, plan.inputs)
    check_plan(plan, network)
    return model, network


def stored_classes(path: Path, plan: Plan) -> int:
    """The outputs of the last layer, by the weights in a folder.

    Raises:
        InputError: there are no such weights.
    """
    weights = read_weights(path / run_files.WEIGHTS)
    last = plan.layers[-1]
    name = f"{surgery_of(last.kind).parts(last)[-1].name}.weight"
    # A layer may be a parameter that is used in a function call.
    for key in (name, last.name):
        if key in weights:
            return len(weights[key])
    raise InputError(
        f"{path / run_files.WEIGHTS} holds no weight {name} of the plan's last layer; give both of one save"
    )


def data_for(plan: Plan, classes: int, data: str, path: Path) -> ImageData:
    """The data set `data`, for the network that `save` put into folder `path`.

    Raises:
        InputError: it is wrong, or has other classes or image sizes than the network.
    """
    images = load_images(data)
    fits = not images.is_labelled or len(images.classes) == classes
    if not fits or images.input_size != plan.input:
        raise InputError(
            f"data {data} has {len(images.classes)} classes and images of {images.input_size} (C, H, W); the "
            f"network in {path} has {classes} outputs and takes {plan.input}"
        )
    return images
