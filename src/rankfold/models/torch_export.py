"""Networks saved by `torch.export` (.pt2), as modules whose layers can be replaced and trained."""

from __future__ import annotations

import inspect
import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from rankfold.errors import InputError, first_line

SUFFIX = ".pt2"
# What torch's own reader would hand to Python's pickle, or run as compiled code.
UNSAFE = ("custom_obj_", "opaque_obj_")
COMPILED = "data/aotinductor/"
FORMAT = "archive_format"
# Formulae of sizes, which torch evaluates: arithmetic over symbols such as s0, in the words of sympy and torch.
SIZE_WORDS = frozenset((
    "Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod",
    "FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "PythonMod", "ModularIndexing", "Identity", "positive", "nonnegative",
    "integer", "real", "True", "False", "Eq", "Ne", "Lt", "Le", "Gt",
    "Ge", "And", "Or", "Not",
))  # fmt: skip
SYMBOL = re.compile(r"[a-z]{1,4}\d+(_\d+)?")
ARITHMETIC = re.compile(r"[\w\s+\-*/(),.<>=!&|~%']*")


def load_exported(path: str | Path) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Read a `torch.export` file; nothing in it is unpickled.

    Its convolutions and linear layers become `nn.Conv2d` and `nn.Linear` modules of the names they had, so that they can be
    replaced. Batch norm and dropout stay in the mode in which they were exported.

    Returns:
        The network, and the example inputs it was exported with, by position and by keyword.

    Raises:
        InputError: the file is missing, damaged, of another version of torch, or holds pickled objects or compiled code.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"cannot read {source}: no such file; give a file saved with torch.export.save")
    archive = _checked_archive(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notices of torch's own about its format
            program = torch.export.load(archive)
            # Guards would refuse batches of other sizes than the example's; older versions of torch have none.
            known = inspect.signature(program.module).parameters
            module = program.module(**({"check_guards": False} if "check_guards" in known else {}))
    except Exception as error:  # a damaged or foreign file raises anything
        raise InputError(
            f"{source} cannot be read as a torch.export file by torch {torch.__version__}: {first_line(error)}"
        ) from error
    graph_module = fx.GraphModule(module, module.graph)
    graph_module.graph.set_codegen(module.graph._codegen)
    _name_layers(graph_module)
    positional, keywords = program.example_inputs or ((), {})
    return graph_module, tuple(positional), dict(keywords)


def _checked_archive(source: Path) -> io.BytesIO:
    """The archive written anew from the entries that were checked here, so that torch's own reader can find no others.

    Torch takes names without their case, and of two equal ones another than Python does; and it reads an older form of file,
    which may hold anything.
    """
    checked = io.BytesIO()
    try:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(checked, "w") as copy:
            names = archive.namelist()
            folder = names[0].partition("/")[0] if names else ""
            if f"{folder}/{FORMAT}" not in names:
                raise InputError(f"{source} is no torch.export file (no {FORMAT} in it); save the network with torch.export.save")
            if any(not name.startswith(f"{folder}/") for name in names) or len({name.lower() for name in names}) < len(names):
                raise InputError(f"{source} has entries of one name or outside its folder; save it again with torch.export.save")
            for name in names:
                content = archive.read(name)
                _check_entry(name.partition("/")[2].lower(), content, source)
                copy.writestr(name, content)
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises anything
        raise InputError(f"{source} is not a torch.export file, or is damaged: {first_line(error)}") from None
    checked.seek(0)
    return checked


def _check_entry(name: str, content: bytes, source: Path) -> None:
    """Refuse an entry in which anything would be unpickled or run."""
    pickled = f"{source} holds pickled objects, which are not read; export plain tensors only"
    if name.startswith(COMPILED):
        raise InputError(f"{source} holds compiled code, which is not run; save it with torch.export.save")
    if name.endswith("_config.json"):
        entries = json.loads(content)["config"].values()
        if any(entry["use_pickle"] or entry["path_name"].startswith(UNSAFE) for entry in entries):
            raise InputError(pickled)
    elif name.endswith(".pt"):
        try:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise InputError(pickled) from None
    elif name.startswith("models/") and name.endswith(".json"):
        _check_expressions(json.loads(content), source)


def _check_expressions(content: Any, source: Path) -> None:
    """Refuse formulae of sizes that hold anything but arithmetic."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "expr_str" and not _is_arithmetic(value):
                raise InputError(f"{source} holds the formula {str(value)[:40]!r} for a size, which is not evaluated")
            _check_expressions(value, source)
    elif isinstance(content, list):
        for value in content:
            _check_expressions(value, source)


def _is_arithmetic(text: Any) -> bool:
    if not isinstance(text, str) or not ARITHMETIC.fullmatch(text):
        return False
    return all(word in SIZE_WORDS or SYMBOL.fullmatch(word) for word in re.findall(r"[A-Za-z_]\w*", text))


def _name_layers(module: fx.GraphModule) -> None:
    """Put modules in the place of function calls whose weight no other call uses."""
    graph = module.graph
    calls: dict[Any, Callable[..., nn.Module]] = {
        torch.ops.aten.conv2d.default: _conv, torch.ops.aten.conv2d.padding: _conv, torch.ops.aten.linear.default: _linear,
    }  # fmt: skip
    for node in list(graph.nodes):
        make = calls.get(node.target) if node.op == "call_function" else None
        if make is None:
            continue
        given: list[Any] = list(node.args)
        x, weight, bias, *options = given + [None] * (3 - len(given))
        path = _owner(module, weight, bias)
        if path is None:
            continue
        tensors = [None if entry is None else _attribute(module, entry.target) for entry in (weight, bias)]
        module.add_submodule(path, make(*tensors, *options))
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.call_module(path, (x,)))
        graph.erase_node(node)
        for entry in (weight, bias):
            if entry is not None and not entry.users:
                graph.erase_node(entry)
    module.recompile()


def _owner(module: fx.GraphModule, weight: Any, bias: Any) -> str | None:
    """The path of the module that a weight and its bias made up, if nothing else was in it and nothing else reads them."""
    target = str(weight.target) if isinstance(weight, fx.Node) and weight.op == "get_attr" else ""
    if not target.endswith(".weight"):
        return None
    path = target.removesuffix(".weight")
    if len(weight.users) > 1 or not isinstance(_attribute(module, target), nn.Parameter):
        return None
    if bias is not None and not (isinstance(bias, fx.Node) and bias.target == f"{path}.bias" and len(bias.users) == 1):
        return None
    holder: Any = module.get_submodule(path)
    alone = set(holder._parameters) <= {"weight", "bias"} and not holder._buffers and not holder._modules
    return path if alone else None


def _conv(
    weight: nn.Parameter, bias: nn.Parameter | None, stride: Any = (1, 1), padding: Any = (0, 0), dilation: Any = (1, 1),
    groups: int = 1,
) -> nn.Conv2d:  # fmt: skip
    window = {"stride": stride, "padding": padding, "dilation": dilation}
    pairs: dict[str, Any] = {
        key: value if isinstance(value, str) else tuple(value) * (2 // len(value)) for key, value in window.items()
    }
    kernel = int(weight.shape[2]), int(weight.shape[3])
    conv = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], kernel, groups=groups, bias=bias is not None, device="meta", **pairs
    )
    conv.weight = weight
    conv.register_parameter("bias", bias)
    return conv


def _linear(weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = weight
    linear.register_parameter("bias", bias)
    return linear


def _attribute(module: nn.Module, path: str) -> Tensor | None:
    owner, _, name = path.rpartition(".")
    found: Tensor | None = getattr(module.get_submodule(owner), name, None)
    return found
