"""Which network a user means: a zoo name, a table, an ONNX or torch.export file, another library's, or a
factory.
"""

from __future__ import annotations

from rankfold.errors import InputError
from rankfold.workload import ZOO, Network, trace, zoo_network
from rankfold.workload.table import SUFFIXES, read_table

MODEL_HELP = (
    "a zoo network, an ONNX (.onnx) or torch.export (.pt2) file, timm:NAME, torchvision:NAME, hf:NAME, "
    "or package.module:factory"
)


def find_network(model: str, image: tuple[int, int, int] | None) -> Network:
    """The network a user means by `model`; ONNX files, tables and zoo networks need no torch.

    Raises:
        InputError: there is none of that name, or it cannot be read.
    """
    if model.lower().endswith(SUFFIXES):
        if image is not None:
            raise InputError(
                "--input does not go with a table of layers, which gives each layer's input itself"
            )
        return read_table(model)
    if model.lower().endswith(".onnx"):
        from rankfold.workload.onnx.layers import read_onnx

        return read_onnx(model, image)
    if model in ZOO:
        return zoo_network(model, image)
    if model.lower().endswith(".pt2"):
        return _exported(model, image)
    if ":" not in model:
        raise InputError(
            f"unknown model {model}; known are {', '.join(ZOO)}, or give a .csv or .yaml table, an .onnx or "
            ".pt2 file, timm:NAME, torchvision:NAME, hf:NAME or package.module:factory"
        )
    from rankfold.models.libraries import LibraryModel, preferred_image
    from rankfold.models.load import load_model

    library = LibraryModel.parse(model)
    if library is not None:
        built = library.build(None, 3 if image is None else image[0])
        return trace(built, image or preferred_image(built), model)
    image = image or (3, 32, 32)
    return trace(load_model(model, 10, image[0]), image, model)


def _exported(model: str, image: tuple[int, int, int] | None) -> Network:
    from rankfold.models.torch_export import load_exported

    module, positional, keywords = load_exported(model)
    if image is not None or not (positional or keywords):
        return trace(module, image, model)
    return trace(module, None, model, keywords or positional)
