"""What is checked in a `torch.export` file (.pt2) before torch reads it, so that nothing in it is run.

Torch makes Python source of a network and executes it. Names of parameters, inputs and nodes go into that source as they
are, operators are looked up by name among all attributes of the module `torch`, and descriptions of inputs may name modules
to import. So every text that torch's own schema of the file declares has a rule here; a text without a rule is refused.
"""

from __future__ import annotations

import functools
import io
import json
import math
import pickle
import re
import types
import typing
import zipfile
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch._export.serde import schema

from rankfold.errors import InputError, first_line

FORMAT = "archive_format"
COMPILED = "data/aotinductor/"
# What torch's own reader would hand to Python's pickle.
PICKLES = ("custom_obj_", "opaque_obj_")
# The entries that torch.export.save writes for a network. Others are not passed on to torch.
KNOWN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|models/model\.json"
    r"|data/(weights|constants)/model(\.pt|_(weights|constants)_config\.json)|data/sample_inputs/model\.pt"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
# torch.export.save does not pack. Files that somebody packed may grow by this factor, and small ones to this many bytes.
GROWTH = 4
SMALL = 64 * 2**20

# Formulae of sizes, which torch evaluates: arithmetic over symbols such as s0, in the words of sympy and torch.
SIZE_WORDS = frozenset((
    "Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod",
    "FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "PythonMod", "ModularIndexing", "Identity", "positive", "nonnegative",
    "integer", "real", "True", "False", "Eq", "Ne", "Lt", "Le", "Gt",
    "Ge", "And", "Or", "Not",
))  # fmt: skip
SYMBOL = re.compile(r"[a-z]{1,4}\d{1,6}(_\d{1,6})?")
ARITHMETIC = re.compile(r"[\w\s+\-*/(),.<>=!&|~%']*")

# Parts of a path: no quote, bracket or space can end the text that torch writes it in; two underscores begin Python's own.
PATH = re.compile(r"(?!__)[\w-]+(\.(?!__)[\w-]+)*")
CALLED_PATH = re.compile(r"((?!__)[\w-]+(@\d+)?(\.(?!__)[\w-]+(@\d+)?)*)?")
VERSION = re.compile(r"[\w.+<=-]*")
PLAIN = re.compile(r"[^'\"\\\n\r{}]*")

# Libraries whose registered operators compute on tensors alone.
LIBRARIES = ("aten", "prims", "quantized_decomposed", "torchvision")
# Operators of aten that read or write files, or print.
EFFECTS = ("from_file", "save", "warn", "_print")
OPERATOR = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.(\w+)")
CONTROL = re.compile(
    r"torch\.ops\.higher_order\.(cond|map|map_impl|scan|while_loop|associative_scan|wrap_with_set_grad_enabled"
    r"|wrap_with_autocast|flex_attention|invoke_subgraph)"
)
SIZE_OPERATORS = re.compile(
    r"_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift|rshift)"
    r"|math\.(ceil|floor|trunc|sqrt|pow)|torch\._?sym_[a-z]+"
)
NUMBERS = ("Infinity", "-Infinity", "NaN", "inf", "-inf", "nan")


def checked_archive(source: Path) -> io.BytesIO:
    """The archive written anew from the entries that were checked here, so that torch's own reader can find no others.

    Torch takes names without their case, and of two equal ones another than Python does; and it reads an older form of file,
    which may hold anything.

    Raises:
        InputError: the file is damaged, or holds anything that torch would unpickle or run, or far more than its size.
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
            limit = _check_sizes(archive, source.stat().st_size, source)
            for entry in archive.infolist():
                name = entry.filename.partition("/")[2].lower()
                if name.startswith(COMPILED):
                    raise InputError(f"{source} holds compiled code, which is not run; save it with torch.export.save")
                if KNOWN.fullmatch(name):
                    # Read by the declared size: what an entry unpacks to beyond it is never made.
                    content = archive.open(entry).read(entry.file_size)
                    copy.writestr(entry.filename, _checked_entry(name, content, source, limit))
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises anything
        raise InputError(f"{source} is not a torch.export file, or is damaged: {first_line(error)}") from None
    checked.seek(0)
    return checked


def _check_sizes(archive: zipfile.ZipFile, size: int, source: Path) -> int:
    """Refuse an archive that unpacks to far more than its size; returns the bytes that it may unpack to."""
    limit = max(GROWTH * size, SMALL)
    total = sum(entry.file_size for entry in archive.infolist())
    if total > limit:
        raise InputError(
            f"{source} unpacks to {total:,} bytes, more than the {limit:,} allowed for {size:,} packed ones; save it again with "
            "torch.export.save, which does not pack"
        )
    # Python unpacks other kinds without a bound.
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in archive.infolist()):
        raise InputError(f"{source} is packed otherwise than torch packs; save it again with torch.export.save")
    return limit


def _checked_entry(name: str, content: bytes, source: Path, limit: int) -> bytes:
    """The entry as torch may read it; refused if anything in it would be unpickled or run."""
    if name.endswith("_config.json"):
        return _checked_config(content, source, limit)
    if name.endswith(".pt") and content:
        return _checked_tensors(content, source)
    if name.startswith("models/"):
        # Torch reads UTF-8; left to itself, json would take other encodings too.
        model = json.loads(content.decode("utf-8"))
        check = FieldCheck(source)
        check.check_formulae(model)
        check.check(schema.ExportedProgram, model, "")
        return json.dumps(model).encode()
    return content


def _checked_config(content: bytes, source: Path, limit: int) -> bytes:
    """A table of weights or constants: none of them pickled, none larger than the file allows."""
    config = json.loads(content.decode("utf-8"))
    for name, entry in config["config"].items():
        if entry["use_pickle"] or entry["path_name"].startswith(PICKLES):
            raise InputError(_pickled(source))
        sizes = [size.get("as_int", 0) for size in entry["tensor_meta"]["sizes"]]
        # A tensor may repeat its stored numbers, and of an empty entry torch makes zeros.
        count = math.prod(sizes)
        if count > limit:
            raise InputError(
                f"{source} declares {count:,} numbers for {name[:60]!r}, more than the {limit:,} that its size allows"
            )
    FieldCheck(source).check(schema.PayloadConfig, config, "")
    return json.dumps(config).encode()


def _checked_tensors(content: bytes, source: Path) -> bytes:
    """Tensors written anew: if torch cannot read a file of them safely, it unpickles it."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise InputError(_pickled(source))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_sizes(archive, len(content), source)
    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(_pickled(source)) from None
    written = io.BytesIO()
    torch.save(tensors, written)
    return written.getvalue()


def _pickled(source: Path) -> str:
    return f"{source} holds pickled objects, which are not read; export plain tensors only"


def _is_name(text: str) -> bool:
    """A variable of the generated source."""
    return text.isidentifier() and not text.startswith("__")


def _is_name_or_empty(text: str) -> bool:
    return not text or _is_name(text)


def _is_path(text: str) -> bool:
    return PATH.fullmatch(text) is not None


def _is_path_or_empty(text: str) -> bool:
    return not text or _is_path(text)


def _is_called_path(text: str) -> bool:
    """The path of a module, which has @1 behind it at a second call."""
    return CALLED_PATH.fullmatch(text) is not None


def _is_symbol(text: str) -> bool:
    return SYMBOL.fullmatch(text) is not None


def _is_version(text: str) -> bool:
    return VERSION.fullmatch(text) is not None


def _is_text(text: str) -> bool:
    """Arguments of operators, which torch writes with `repr`."""
    return True


def _is_never(text: str) -> bool:
    """Custom objects, which are pickles."""
    return False


def _is_arithmetic(text: str) -> bool:
    if not ARITHMETIC.fullmatch(text):
        return False
    return all(word in SIZE_WORDS or SYMBOL.fullmatch(word) for word in re.findall(r"[A-Za-z_]\w*", text))


def _is_operator(text: str) -> bool:
    """An operator that computes on tensors or sizes alone; torch would take any attribute of `torch`, as `torch.os.system`."""
    if SIZE_OPERATORS.fullmatch(text) or CONTROL.fullmatch(text):
        return True
    match = OPERATOR.fullmatch(text)
    if match is None:
        return False
    library, name, overload = match.groups()
    if library not in LIBRARIES or (library == "aten" and name in EFFECTS):
        return False
    try:
        found = getattr(getattr(getattr(torch.ops, library), name), overload)
    except AttributeError:
        return False
    return isinstance(found, torch._ops.OpOverload)


def _is_tree(text: str) -> bool:
    """A description of nested inputs or outputs: kinds of containers and the names in them.

    Torch would import the modules that `__enum__` and `collections.defaultdict` name.
    """
    try:
        _, tree = json.loads(text)
    except (TypeError, ValueError):
        return False
    return _is_branch(tree)


def _is_branch(tree: Any) -> bool:
    if not isinstance(tree, dict) or not isinstance(tree.get("children_spec"), list):
        return False
    kind, context = tree.get("type"), tree.get("context")
    if kind is not None and not (isinstance(kind, str) and _is_path(kind)):
        return False
    if isinstance(context, str) and not _is_path(context):
        try:
            context = json.loads(context)
        except ValueError:
            return False
    return _is_plain(context) and all(_is_branch(child) for child in tree["children_spec"])


def _is_plain(value: Any) -> bool:
    """Numbers, paths and lists of them."""
    if isinstance(value, str):
        return _is_path(value)
    if isinstance(value, list):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float))


# What every text may be, by class and field of torch's schema; of mappings the rule is for their keys too.
RULES: dict[str, Callable[[str], bool]] = {
    "Device.type": _is_name,
    "SymExpr.expr_str": _is_arithmetic,
    "SymIntArgument.as_name": _is_name,
    "SymFloatArgument.as_name": _is_name,
    "SymBoolArgument.as_name": _is_name,
    "TensorArgument.name": _is_name,
    "TokenArgument.name": _is_name,
    "GraphArgument.name": _is_name,
    "CustomObjArgument.name": _is_never,
    "CustomObjArgument.class_fqn": _is_never,
    "Argument.as_string": _is_text,
    "Argument.as_strings": _is_text,
    "Argument.as_operator": _is_operator,
    "Argument.as_string_to_argument": _is_name,
    "NamedArgument.name": _is_name_or_empty,
    "Node.target": _is_operator,
    "Node.name": _is_name,
    "Graph.tensor_values": _is_name,
    "Graph.sym_int_values": _is_name,
    "Graph.sym_bool_values": _is_name,
    "Graph.sym_float_values": _is_name,
    "Graph.custom_obj_values": _is_never,
    "InputToConstantInputSpec.name": _is_name_or_empty,
    "ConstantValue.as_string": _is_text,
    "InputToParameterSpec.parameter_name": _is_path,
    "InputToBufferSpec.buffer_name": _is_path,
    "InputToTensorConstantSpec.tensor_constant_name": _is_path,
    "InputToCustomObjSpec.custom_obj_name": _is_never,
    "BufferMutationSpec.buffer_name": _is_path,
    "ParameterMutationSpec.parameter_name": _is_path,
    "GradientToParameterSpec.parameter_name": _is_path,
    "GradientToUserInputSpec.user_input_name": _is_name,
    "UserInputMutationSpec.user_input_name": _is_name,
    "ModuleCallSignature.in_spec": _is_tree,
    "ModuleCallSignature.out_spec": _is_tree,
    "ModuleCallSignature.forward_arg_names": _is_name,
    "ModuleCallEntry.fqn": _is_called_path,
    "NamedTupleDef.field_names": _is_name,
    "GraphModule.treespec_namedtuple_fields": _is_path,
    "ExportedProgram.opset_version": _is_path,
    "ExportedProgram.range_constraints": _is_symbol,
    "ExportedProgram.verifiers": _is_path_or_empty,  # looked up in a table of torch's
    "ExportedProgram.torch_version": _is_version,
    "PayloadMeta.path_name": _is_path,
    "PayloadConfig.config": _is_path,
}
# Notes on where a node came from, and checks of inputs as Python expressions: not needed here, and not passed on.
DROPPED: dict[str, Callable[[], Any]] = {
    "Node.metadata": dict,
    "GraphModule.metadata": dict,
    "ExportedProgram.guards_code": list,
}


@functools.cache
def _declared(kind: type) -> dict[str, Any]:
    """The types of a schema class's fields."""
    hints = typing.get_type_hints(kind, globalns=vars(schema))
    return {field.name: hints[field.name] for field in fields(kind)}


class FieldCheck:
    """Holds a parsed file against torch's schema: every value of its declared type, every text by its rule."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def check(self, kind: Any, value: Any, place: str, rule: Callable[[str], bool] = _is_never) -> None:
        """Check one value, and all in it; the fields in `DROPPED` are emptied.

        Args:
            kind: its declared type.
            value: what the file has.
            place: where it stands, for the message.
            rule: what a text may be here.

        Raises:
            InputError: the value is of another type, or a text that its rule does not allow.
        """
        if value is None:
            return
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            self.check(inner[0], value, place, rule)
        elif origin is list and isinstance(value, list):
            for index, entry in enumerate(value):
                self.check(inner[0], entry, f"{place}[{index}]", rule)
        elif origin is dict and isinstance(value, dict):
            for key, entry in value.items():
                self.check(str, key, place, rule)
                self.check(inner[1], entry, f"{place}[{key!r}]", rule)
        elif is_dataclass(kind) and isinstance(value, dict):
            self._check_fields(typing.cast(type, kind), value, place)
        elif not self._is_value(kind, value, rule):
            self._refuse(value, place)

    def check_formulae(self, content: Any) -> None:
        """Refuse formulae of sizes that hold anything but arithmetic, wherever they stand."""
        if isinstance(content, dict):
            for key, value in content.items():
                if key == "expr_str" and not (isinstance(value, str) and _is_arithmetic(value)):
                    self._refuse(value, ".expr_str")
                self.check_formulae(value)
        elif isinstance(content, list):
            for value in content:
                self.check_formulae(value)

    def _check_fields(self, kind: type, value: dict[str, Any], place: str) -> None:
        for name, declared in _declared(kind).items():
            if name not in value:
                continue
            label = f"{kind.__name__}.{name}"
            below = f"{place}.{name}".lstrip(".")
            if label in DROPPED:
                value[name] = DROPPED[label]()
            else:
                self.check(declared, value[name], below, RULES.get(label, _is_never))
            if label == "Graph.inputs":
                self._check_inputs(value[name], below)

    def _check_inputs(self, inputs: list[dict[str, Any]], place: str) -> None:
        """Texts given as inputs, which torch writes between quotes without escaping them."""
        for index, entry in enumerate(inputs):
            text = entry.get("as_string")
            if isinstance(text, str) and not PLAIN.fullmatch(text):
                self._refuse(text, f"{place}[{index}].as_string")

    @staticmethod
    def _is_value(kind: Any, value: Any, rule: Callable[[str], bool]) -> bool:
        if isinstance(value, str):
            return (kind is str and rule(value)) or (kind is float and value in NUMBERS)
        return kind is not str and isinstance(value, (bool, int, float))

    def _refuse(self, value: Any, place: str) -> None:
        text = repr(value)[:60]
        if place.endswith(".expr_str"):
            raise InputError(f"{self.source} holds the formula {text} for a size, which is not evaluated")
        if place.endswith((".target", ".as_operator")):
            raise InputError(
                f"{self.source} calls {text} in {place}, which is no operator on tensors that is known here; export a network of "
                f"operators of {', '.join(LIBRARIES)}"
            )
        raise InputError(
            f"{self.source} has {text} in {place}, which torch could run as code; export the network again, with names of "
            "letters, digits and underscores"
        )
