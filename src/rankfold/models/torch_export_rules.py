"""What every text in the JSON of a `torch.export` file may be, so that torch can read it without running any.

Torch makes Python source of a network and executes it. Names of parameters, inputs and nodes go into that
source as they are, operators are looked up by name among all attributes of the module `torch`, and
descriptions of inputs may name modules to import. So every text that torch's own schema of the file
declares has a rule here; a text without a rule is refused.
"""

from __future__ import annotations

import functools
import json
import re
import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch._export.serde import schema

from rankfold.errors import InputError

Rule = Callable[[str], bool]

# Formulae of sizes, which torch evaluates: arithmetic over symbols such as s0, in the words of sympy and
# torch.
SIZE_WORDS = frozenset(
    (
        # numbers and symbols, and what is assumed of them
        "Symbol",
        "Integer",
        "Rational",
        "positive",
        "nonnegative",
        "integer",
        "real",
        # arithmetic
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Mod",
        "FloorDiv",
        "CeilDiv",
        "CleanDiv",
        "IntTrueDiv",
        "PythonMod",
        "ModularIndexing",
        "Identity",
        # truth
        "True",
        "False",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "And",
        "Or",
        "Not",
    )
)
SYMBOL = re.compile(r"[a-z]{1,4}\d{1,6}(_\d{1,6})?")
ARITHMETIC = re.compile(r"[\w\s+\-*/(),.<>=!&|~%']*")

# Parts of a path: no quote, bracket or space can end the text that torch writes it in; two underscores
# begin names of Python's own.
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


def _is_name(text: str) -> bool:
    """A variable of the generated source."""
    # Two underscores in front begin names that mean something to Python, as __import__ and __builtins__ do.
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
    # As torch counts them: s0, u1, s77_2.
    return SYMBOL.fullmatch(text) is not None


def _is_version(text: str) -> bool:
    # Of torch, as 2.6.0+cu124, or of a set of operators.
    return VERSION.fullmatch(text) is not None


def _is_text(text: str) -> bool:
    """Arguments of operators, which torch writes with `repr`."""
    return True


def _is_never(text: str) -> bool:
    """Custom objects, which are pickles."""
    return False


def _is_arithmetic(text: str) -> bool:
    """A formula of sizes, which torch evaluates."""
    if not ARITHMETIC.fullmatch(text):
        return False
    words = re.findall(r"[A-Za-z_]\w*", text)
    return all(word in SIZE_WORDS or _is_symbol(word) for word in words)


def _is_operator(text: str) -> bool:
    """An operator that computes on tensors or sizes alone.

    Torch would take any attribute of `torch`, as `torch.os.system`.
    """
    if SIZE_OPERATORS.fullmatch(text) or CONTROL.fullmatch(text):
        return True
    match = OPERATOR.fullmatch(text)
    if match is None:
        return False
    library, name, overload = match.groups()
    if library not in LIBRARIES:
        return False
    if library == "aten" and name in EFFECTS:
        return False
    # It must be registered: the name alone could be one of a module that torch holds.
    try:
        operators = getattr(torch.ops, library)
        operator = getattr(getattr(operators, name), overload)
    except AttributeError:
        return False
    return isinstance(operator, torch._ops.OpOverload)


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
    """A container of such a description, with all that is in it."""
    if not isinstance(tree, dict):
        return False
    children = tree.get("children_spec")
    if not isinstance(children, list):
        return False
    kind = tree.get("type")
    if kind is not None and not _is_path_text(kind):
        return False
    context = tree.get("context")
    # Names in a container are written as JSON inside the JSON.
    if isinstance(context, str) and not _is_path(context):
        try:
            context = json.loads(context)
        except ValueError:
            return False
    return _is_plain(context) and all(_is_branch(child) for child in children)


def _is_path_text(value: Any) -> bool:
    return isinstance(value, str) and _is_path(value)


def _is_plain(value: Any) -> bool:
    """Numbers, paths and lists of them."""
    if isinstance(value, str):
        return _is_path(value)
    if isinstance(value, list):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float))


# What every text may be, by class and field of torch's schema; of mappings the rule is for their keys too.
RULES: dict[str, Rule] = {
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
# Notes on where a node came from, and checks of inputs as Python expressions: not needed here, and not
# passed on.
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


def _is_arithmetic_text(value: Any) -> bool:
    return isinstance(value, str) and _is_arithmetic(value)


class FieldCheck:
    """Holds a parsed file against torch's schema: values to their declared types, texts to their rules."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def check(
        self,
        kind: Any,
        value: Any,
        place: str,
        rule: Rule = _is_never,
    ) -> None:
        """Check one value, and all in it; the fields in `DROPPED` are emptied.

        Args:
            kind: its declared type.
            value: what the file has.
            place: where it stands, for the message.
            rule: what a text may be here.

        Raises:
            InputError: the value is of another type, or a text that its rule does not allow.
        """
        # An optional field that is left out.
        if value is None:
            return
        origin = typing.get_origin(kind)
        inner = typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            # Torch declares only what may be left out so; a value that is there is of the first type.
            self.check(inner[0], value, place, rule)
        elif origin is list and isinstance(value, list):
            for index, entry in enumerate(value):
                self.check(inner[0], entry, f"{place}[{index}]", rule)
        elif origin is dict and isinstance(value, dict):
            # Keys are names of values, which go into the source as other names do.
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
                if key == "expr_str" and not _is_arithmetic_text(value):
                    self._refuse(value, ".expr_str")
                self.check_formulae(value)
        elif isinstance(content, list):
            for value in content:
                self.check_formulae(value)

    def _check_fields(
        self,
        kind: type,
        value: dict[str, Any],
        place: str,
    ) -> None:
        for name, declared in _declared(kind).items():
            if name not in value:
                continue
            label = f"{kind.__name__}.{name}"
            below = f"{place}.{name}".lstrip(".")
            if label in DROPPED:
                empty = DROPPED[label]
                value[name] = empty()
            else:
                rule = RULES.get(label, _is_never)
                self.check(declared, value[name], below, rule)
            if label == "Graph.inputs":
                self._check_inputs(value[name], below)

    def _check_inputs(self, inputs: list[dict[str, Any]], place: str) -> None:
        """Texts given as inputs, which torch writes between quotes without escaping them."""
        for index, entry in enumerate(inputs):
            text = entry.get("as_string")
            if isinstance(text, str) and not PLAIN.fullmatch(text):
                self._refuse(text, f"{place}[{index}].as_string")

    @staticmethod
    def _is_value(
        kind: Any,
        value: Any,
        rule: Rule,
    ) -> bool:
        if not isinstance(value, str):
            return kind is not str and isinstance(value, (bool, int, float))
        if kind is str:
            return rule(value)
        # JSON has no words of its own for numbers that are not finite.
        return kind is float and value in NUMBERS

    def _refuse(self, value: Any, place: str) -> None:
        text = repr(value)[:60]
        if place.endswith(".expr_str"):
            raise InputError(f"{self.source} holds the formula {text} for a size, which is not evaluated")
        if place.endswith((".target", ".as_operator")):
            raise InputError(
                f"{self.source} calls {text} in {place}, which is no operator on tensors that is known here; "
                f"export a network of operators of {', '.join(LIBRARIES)}"
            )
        raise InputError(
            f"{self.source} has {text} in {place}, which torch could run as code; "
            "export the network again, with names of letters, digits and underscores"
        )
