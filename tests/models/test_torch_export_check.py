"""Files of torch.export that would run code, write files or fill the memory when they are read."""

import io
import json
import typing
import zipfile
from dataclasses import is_dataclass

import pytest
import torch
from torch import nn
from torch._export.serde import schema

from rankfold.errors import InputError
from rankfold.models import torch_export_check, torch_export_rules
from rankfold.models.torch_export import load_exported
from rankfold.models.torch_export_rules import DROPPED, RULES

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's exporter

MODEL, WEIGHTS, INPUTS = (
    "net/models/model.json",
    "net/data/weights/model_weights_config.json",
    "net/data/sample_inputs/model.pt",
)


class Net(nn.Module):
    """A layer, a buffer, a keyword, an output by name, a size that is open, and a block without gradients."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.ones(4))
        self.register_buffer("shift", torch.ones(4), persistent=False)
        self.pad = nn.Conv2d(4, 4, 3, padding="same")

    def forward(self, x, *, gain=None):
        x = self.pad(torch.nn.functional.gelu(self.conv(x), approximate="tanh")).mean((2, 3))
        with torch.no_grad():
            rest = x.sigmoid() * self.shift
        return {"out": x * self.scale * gain, "rest": [rest, x.reshape(x.shape[0] * 2, 2)]}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The entries of an ordinary file."""
    path = tmp_path_factory.mktemp("net") / "net.pt2"
    open_batch = {"x": {0: torch.export.Dim("batch", min=1, max=64)}, "gain": None}
    inputs = (torch.zeros(2, 3, 8, 8),), {"gain": torch.ones(1)}
    torch.export.save(torch.export.export(Net().eval(), *inputs, dynamic_shapes=open_batch), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, parts, packing=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def replaced(value, old, new):
    """The value with a text in the place of another, as a key too."""
    if isinstance(value, dict):
        return {replaced(key, old, new): replaced(entry, old, new) for key, entry in value.items()}
    if isinstance(value, list):
        return [replaced(entry, old, new) for entry in value]
    return new if value == old else value


def graph(model):
    return model["graph_module"]["graph"]


def signature(model):
    return model["graph_module"]["module_call_graph"][0]["signature"]


def set_target(target):
    def change(model, trap):
        node = next(node for node in graph(model)["nodes"] if node["target"] == "torch.ops.aten.mul.Tensor")
        node["target"] = target
        node["inputs"] = [{"name": "", "arg": {"as_string": f"touch {trap}"}, "kind": 1}]

    return change


def make_file(model, trap):
    node = next(node for node in graph(model)["nodes"] if node["target"] == "torch.ops.aten.gelu.default")
    node["target"] = "torch.ops.aten.from_file.default"
    values = {"filename": {"as_string": str(trap)}, "shared": {"as_bool": True}, "size": {"as_int": 4}}
    node["inputs"] = [{"name": name, "arg": value, "kind": 1} for name, value in values.items()]


def call(trap):
    """A call that makes the trap, spelt without dots, which would part a name, and without quotes."""
    code = f"open({str(trap)!r}, 'w')"
    return f"exec(bytes({list(code.encode())}))"


def in_quotes(trap):
    """A name that ends the quotes that the generated source writes it in."""
    return f'a") if {call(trap)} else getattr(self, "b'


def rename(name):
    """Another name, wherever the file has it, that runs a call where the generated source has the name."""

    def change(model, trap):
        new = in_quotes(trap)
        if name in ("gain", "gelu"):
            new = f"{name}={call(trap)}"
        model.update(replaced(model, name, new))
        return {name: new}

    return change


def argument_names(model, trap):
    signature(model)["forward_arg_names"] = ["x", "gain", f"more={call(trap)}"]


def keyword(model, trap):
    spec = json.loads(signature(model)["in_spec"])
    spec[1]["children_spec"][1]["context"] = json.dumps([f"gain':({call(trap)}, gain)[1], 'b"])
    signature(model).update(in_spec=json.dumps(spec), forward_arg_names=["x", "gain"])


def imported(context, kind):
    def change(model, trap):
        module = trap.parent / "trapmodule.py"
        module.write_text(f"open({str(trap)!r}, 'w')\n")
        spec = json.loads(signature(model)["out_spec"])
        spec[1].update(context=context, type=kind)
        signature(model)["out_spec"] = json.dumps(spec)

    return change


def submodule(model, trap):
    node = next(node for node in graph(model)["nodes"] if "higher_order" in node["target"])
    inner = next(entry["arg"]["as_graph"] for entry in node["inputs"] if "as_graph" in entry["arg"])
    inner["name"] = in_quotes(trap)


def called(model, trap):
    node = next(node for node in graph(model)["nodes"] if "higher_order" in node["target"])
    index = next(index for index, entry in enumerate(node["inputs"]) if "as_graph" in entry["arg"])
    node["inputs"][index]["arg"] = {"as_operator": "torch.os.system"}


def argument_keyword(model, trap):
    node = next(node for node in graph(model)["nodes"] if "higher_order" in node["target"])
    node["inputs"].append({"name": f"a={call(trap)}, b", "arg": {"as_int": 1}, "kind": 2})


def text_input(model, trap):
    graph(model)["inputs"][-1] = {"as_string": f"' + str(open({str(trap)!r}, 'w')) + '"}


def formula(model, trap):
    text = json.dumps(model).replace("Symbol('s", f"open({str(trap)!r}, 'w') or Symbol('s")
    model.update(json.loads(text))


def library(model, trap):
    graph(model)["nodes"][0]["target"] = "torch.ops.load_library"


def field(*path, value):
    def change(model, trap):
        for key in path[:-1]:
            model = model[key]
        model[path[-1]] = value

    return change


ENUM = json.dumps([{"__enum__": True, "fqn": "trapmodule:A", "name": "B"}])
FACTORY = {
    "default_factory_module": "trapmodule",
    "default_factory_name": "A",
    "dict_context": ["out", "rest"],
}
PAYLOADS = {
    "parameter": (rename("conv.weight"), r"parameter_name"),
    "buffer": (rename("scale"), r"buffer_name"),
    "constant": (rename("shift"), r"buffer_name"),
    "input": (rename("gain"), r"as_tensor\.name"),
    "node": (rename("gelu"), r"outputs\[0\]\.as_tensor\.name"),
    "node name": (field("graph_module", "graph", "nodes", 0, "name", value="a = 1; b"), r"nodes\[0\]\.name"),
    "tensor value": (field("graph_module", "graph", "tensor_values", "a; b", value={}), r"tensor_values"),
    "argument names": (argument_names, r"forward_arg_names"),
    "keyword": (keyword, r"in_spec"),
    "import by enum": (imported(ENUM, "builtins.dict"), r"out_spec"),
    "import by factory": (imported(FACTORY, "collections.defaultdict"), r"out_spec"),
    "subgraph": (submodule, r"as_graph\.name"),
    "operator argument": (called, r"torch\.os\.system.*as_operator"),
    "keyword of a call": (argument_keyword, r"inputs\[\d\]\.name"),
    "target": (set_target("torch.os.system"), r"torch\.os\.system.*nodes\[\d\]\.target"),
    "target of a method": (set_target("torch.ops.aten.__class__.__init__"), r"__class__.*target"),
    "attribute of Python": (set_target("_operator.methodcaller"), r"methodcaller.*target"),
    "native library": (library, r"load_library.*target"),
    "file": (make_file, r"from_file.*target"),
    "text input": (text_input, r"inputs\[\d\]\.as_string"),
    "formula": (formula, r"formula"),
    "number that is text": (
        field("graph_module", "graph", "outputs", 0, value={"as_int": "a"}),
        r"outputs\[0\]\.as_int",
    ),
    "custom object": (
        field("graph_module", "graph", "inputs", 0, value={"as_custom_obj": {"name": "a", "class_fqn": "b"}}),
        r"as_custom_obj",
    ),
    "range": (field("range_constraints", "u99999999999", value={}), r"range_constraints"),
    "device": (
        field("graph_module", "graph", "tensor_values", "x", "device", "type", value="cpu; a"),
        r"device\.type",
    ),
    "module": (
        field("graph_module", "module_call_graph", 0, "fqn", value="a'b"),
        r"module_call_graph\[0\]\.fqn",
    ),
}


def attacked(parts, change, trap):
    """The entries with a payload in the network and, where it is a name, in the tables of tensors."""
    model = json.loads(parts[MODEL])
    renamed = change(model, trap) or {}
    entries = {**parts, MODEL: json.dumps(model).encode()}
    for old, new in renamed.items():
        for entry in parts:
            if entry.endswith("_config.json"):
                entries[entry] = json.dumps(replaced(json.loads(parts[entry]), old, new)).encode()
    # The network first, so that it is what is refused.
    return {MODEL: entries[MODEL], **entries}


@pytest.mark.parametrize("name", PAYLOADS)
def test_texts_that_would_run_are_refused(parts, tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    change, place = PAYLOADS[name]
    trap = tmp_path / "trap"
    path = written(tmp_path / "trick.pt2", attacked(parts, change, trap))
    with pytest.raises(InputError, match=rf"trick\.pt2 (has|calls|holds the).*{place}"):
        load_exported(path)
    assert not trap.exists()


def test_ordinary_files_load_and_run(parts, tmp_path):
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        module, inputs, keywords = load_exported(written(tmp_path / "net.pt2", parts, packing))
        result = module(torch.randn(5, 3, 8, 8), **keywords)
        assert [tensor.shape[0] for tensor in (result["out"], *result["rest"])] == [5, 5, 10]
        assert inputs[0].shape == (2, 3, 8, 8)
        assert isinstance(module.conv, nn.Conv2d)


def test_notes_and_guards_are_not_passed_on(parts, tmp_path):
    trap, model = tmp_path / "trap", json.loads(parts[MODEL])
    code = f"open({str(trap)!r}, 'w')"
    model["guards_code"] = [code]
    for node in graph(model)["nodes"]:
        node["metadata"] = {
            "stack_trace": f'"""\n{code}\n"""',
            "source_fn_stack": "a,torch.os.system",
            "custom": f'{{"a": "\\n{code}"}}',
        }
    module, inputs, keywords = load_exported(
        written(tmp_path / "net.pt2", {**parts, MODEL: json.dumps(model).encode()})
    )
    module(*inputs, **keywords)
    assert not trap.exists()
    assert all("stack_trace" not in node.meta for node in module.graph.nodes if node.op == "call_function")


def test_names_in_tables_of_tensors_are_checked(parts, tmp_path):
    config = json.dumps(replaced(json.loads(parts[WEIGHTS]), "conv.weight", "a'b")).encode()
    with pytest.raises(InputError, match=r"""has "a'b" in config, which torch could run"""):
        load_exported(written(tmp_path / "net.pt2", {**parts, WEIGHTS: config}))


def test_no_other_entry_is_passed_on(parts, tmp_path):
    trap, model = tmp_path / "trap", json.loads(parts[MODEL])
    argument_names(model, trap)
    more = {
        "net/models/other.json": json.dumps(model).encode(),
        "net/models/model.jsox": json.dumps(model).encode(),
    }
    load_exported(written(tmp_path / "net.pt2", {**parts, **more}))
    assert not trap.exists()


def test_other_encodings_of_json_are_not_read(parts, tmp_path):
    with pytest.raises(InputError, match="is damaged"):
        load_exported(written(tmp_path / "net.pt2", {**parts, MODEL: parts[MODEL].decode().encode("utf-16")}))


def test_every_text_of_the_schema_has_a_rule():
    missing, seen = [], set()

    def visit(kind, label):
        inner = typing.get_args(kind)
        if is_dataclass(kind):
            if kind not in seen:
                seen.add(kind)
                for name, declared in torch_export_rules._declared(kind).items():
                    visit(declared, f"{kind.__name__}.{name}")
        elif kind is str or (typing.get_origin(kind) is dict and inner[0] is str):
            missing.extend([label] if label not in RULES and label not in DROPPED else [])
        for entry in inner:
            visit(entry, label)

    visit(schema.ExportedProgram, "")
    visit(schema.PayloadConfig, "")
    assert missing == []
    assert len(seen) > 30


def test_files_that_unpack_to_far_more_are_refused_unread(parts, tmp_path, monkeypatch):
    path, zeros = tmp_path / "bomb.pt2", bytes(80 * 2**20)
    written(path, {**parts, "net/data/weights/weight_0": zeros}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    monkeypatch.setattr(torch_export_check, "_checked_entry", lambda *_: pytest.fail("an entry was read"))
    with pytest.raises(
        InputError, match=r"bomb\.pt2 unpacks to 83,\d{3},\d{3} bytes, more than the 67,108,864 allowed"
    ):
        load_exported(path)
    written(path, parts, zipfile.ZIP_BZIP2)
    with pytest.raises(InputError, match="packed otherwise than torch packs"):
        load_exported(path)


def test_bombs_inside_an_entry_and_lying_sizes_are_refused(parts, tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/0", bytes(80 * 2**20))
    with pytest.raises(InputError, match="unpacks to"):
        load_exported(written(tmp_path / "net.pt2", {**parts, INPUTS: inner.getvalue()}))
    config = json.loads(parts[WEIGHTS])
    config["config"]["conv.weight"]["tensor_meta"]["sizes"] = [{"as_int": 10**6}, {"as_int": 10**6}]
    with pytest.raises(InputError, match=r"declares 1,000,000,000,000 numbers for 'conv\.weight'"):
        load_exported(written(tmp_path / "net.pt2", {**parts, WEIGHTS: json.dumps(config).encode()}))
