"""Run a network from array images alone: the files of `rankfold export DIR --to arrays`, NumPy, and nothing
else.

    python examples/run_arrays.py ARRAYS images.npy [labels.npy]

`images.npy` holds normalised images (N, C, H, W). Prints the class of each image, or the accuracy where
there are labels. This is an independent reader: it shares no code with Rankfold and follows docs/arrays.md.
"""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

# What NumPy calls the ways in which torch pads a plane.
PADDING = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
KNOWN = [("rankfold.placement", 1), ("rankfold.placement", 2)]
USAGE = "usage: run_arrays.py ARRAYS images.npy [labels.npy]"


class Network:
    """The arrays, and the digital steps between them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.content = json.loads((self.folder / "placement.json").read_text())
        if (self.content["_type"], self.content["_version"]) not in KNOWN:
            raise SystemExit(f"{folder} is no placement of version 1 or 2")
        self.layers = {layer["name"]: layer for layer in self.content["layers"]}
        self.digital = dict(np.load(self.folder / "digital.npz"))
        self.cells = []
        for array in self.content["arrays"]:
            stored = np.load(self.folder / array["file"])["cells"]
            self.cells.append(stored.astype(np.float64))
        # Accumulators of each layer on the last images, for whoever wants to look.
        self.sums = {}

    def __call__(self, *batches):
        """(N, classes) of images (N, C, H, W), or of the several inputs of the network in their order."""
        values = dict(self.digital)
        inputs = self.content.get("inputs") or [self.content["input"]]
        for input, batch in zip(inputs, batches, strict=True):
            values[input["name"]] = np.asarray(batch, np.float64)
        for step in self.content["steps"]:
            inputs = [values[name] for name in step["inputs"]]
            values[step["output"]] = self.step(step, inputs)
        return values[self.content["output"]]

    def step(self, step, inputs):
        """One step of the program."""
        op = step["op"]
        if op == "layer":
            return self.layer(self.layers[step["layer"]], inputs[0])
        if op == "scale_channels":
            return self.scale_channels(step, inputs[0])
        if op == "layer_norm":
            return layer_norm(self.digital, step, inputs[0])
        if op not in DIGITAL:
            raise SystemExit(f"unknown step {op}")
        return DIGITAL[op](step, inputs)

    def scale_channels(self, step, x):
        """x * scale + shift, for x (N, C, ...)."""
        each_channel = (1, -1, *[1] * (x.ndim - 2))
        scale = self.digital[step["scale"]].reshape(each_channel)
        shift = self.digital[step["shift"]].reshape(each_channel)
        return x * scale + shift

    def layer(self, layer, x):
        """Quantise the input, run the arrays, scale the sums, add the bias."""
        levels = layer["input_levels"]
        # NumPy rounds halves to even, as the file wants it.
        integers = np.clip(np.rint(x * levels["reciprocal"]), levels["low"], levels["high"])
        flat = layer["kind"] == "linear"
        if flat:
            # A fully connected layer is a 1x1 convolution of 1x1 planes, one for each vector.
            integers = integers.reshape(-1, layer["input"][0], 1, 1)
        sums = self.accumulate(layer, integers)
        self.sums[layer["name"]] = sums
        y = sums * (layer["weight_levels"]["scale"] * levels["scale"])
        if layer["bias"] is not None:
            y = y + self.digital[layer["bias"]].reshape(1, -1, 1, 1)
        if flat:
            y = y.reshape(*x.shape[:-1], -1)
        return y

    def accumulate(self, layer, integers):
        """(N, m, OH, OW) sums of integer products, activation by activation of every array."""
        top, bottom, left, right = layer["padding"]
        widths = ((0, 0), (0, 0), (top, bottom), (left, right))
        padded = np.pad(integers, widths, mode=PADDING[layer["padding_mode"]])
        slices = input_slices(layer["input_levels"], self.content["array"].get("input_coding"), padded)
        result = np.zeros((len(integers), *layer["output"]))
        for region in layer["regions"]:
            for number in region["arrays"]:
                for windows in region["activations"]:
                    self.activate(layer, number, windows, slices, result)
        return result

    def activate(self, layer, number, windows, slices, result):
        """Add to `result` what one array gives for some windows, one a slot.

        A slot without a window (None) is driven with zeros, and its columns are not read.
        """
        there = np.array([window is not None for window in windows])
        places = np.array([window or [0, 0, 0, 0] for window in windows])  # (slots, 4)
        array = self.content["arrays"][number]

        channel, y, x, slot = np.array(array["rows"]).T
        driven = there[slot]
        y = places[slot, 0] * layer["stride"][0] + y
        x = places[slot, 1] * layer["stride"][1] + x
        sums = 0.0
        for factor, part in slices:
            inputs = part[:, channel, y, x] * driven  # (N, r)
            read = inputs @ self.cells[number]  # (N, physical columns)
            sums = sums + factor * weight_sums(layer["cells"], read, len(array["columns"]))

        channel, y, x, slot = np.array(array["columns"]).T
        y = places[slot, 0] + y
        x = places[slot, 1] + x
        # Pixels that an earlier window has given already do not count again.
        new = (y >= places[slot, 2]) & (x >= places[slot, 3])
        counts = there[slot] & new
        result[:, channel[counts], y[counts], x[counts]] += sums[:, counts]


def weight_sums(cells, read, count):
    """(N, c) the sum of each weight's column, of what the physical columns gave (N, columns)."""
    per_weight = cells["columns_per_weight"]
    weights = read[:, : count * per_weight].reshape(len(read), count, per_weight)
    sums = (weights * np.array(cells["factors"], float)).sum(2)
    if cells["reference_factor"] is not None:
        # The reference lies in the last column.
        sums = sums + cells["reference_factor"] * read[:, -1:]
    return sums


def input_slices(levels, coding, integers):
    """(factor, values driven) of each slice of the inputs, least significant first."""
    factors, integers = levels["slice_factors"], integers.astype(np.int64)
    if not levels["signed"] or coding is None:
        return bit_slices(factors, integers)
    if coding == "sign-magnitude":
        # Slices of the magnitude, each driven with the sign.
        signs = np.sign(integers)
        return [(factor, part * signs) for factor, part in bit_slices(factors, abs(integers))]
    # Differential: the positive inputs in one pass; then the negative ones, which count negatively.
    half = len(factors) // 2
    positive = bit_slices(factors[:half], np.maximum(integers, 0))
    negative = bit_slices([-factor for factor in factors[half:]], np.maximum(-integers, 0))
    return positive + [(-factor, part) for factor, part in negative]


def bit_slices(factors, integers):
    """The same of whole numbers whose negative ones are in two's complement."""
    slices = []
    left = integers
    for factor, following in pairwise(factors):
        # The next factor says how many values this slice has, a power of two.
        values = abs(following) // factor
        slices.append((factor, (left % values).astype(np.float64)))
        left = left // values
    last = factors[-1]
    if last < 0:
        # One bit, the sign in two's complement, which counts negatively.
        left = left & 1
    slices.append((last, left.astype(np.float64)))
    return slices


def pool(step, x, lowest):
    """(N, C, OH, OW, kh, kw) the windows of a pool, with `lowest` around the plane."""
    (py, px), (sy, sx) = step["padding"], step["stride"]
    widths = ((0, 0), (0, 0), (py, py), (px, px))
    padded = np.pad(x, widths, constant_values=lowest)
    windows = np.lib.stride_tricks.sliding_window_view(padded, step["kernel"], (2, 3))
    return windows[:, :, ::sy, ::sx]


def cut(step, inputs):
    """A range along one axis."""
    index = [slice(None)] * inputs[0].ndim
    index[step["axis"]] = slice(step["start"], step["stop"], step["step"])
    return inputs[0][tuple(index)]


def layer_norm(values, step, x):
    """(x - mean) / sqrt(variance + epsilon) over the last axes, times a scale, plus a shift."""
    axes = tuple(range(-step["axes"], 0))
    centred = x - x.mean(axes, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + step["epsilon"])
    if step["scale"] is not None:
        y = y * values[step["scale"]]
    if step["shift"] is not None:
        y = y + values[step["shift"]]
    return y


def softmax(step, inputs):
    """exp(x) over its sum along one axis; the largest is taken off first, so that nothing overflows."""
    powers = np.exp(inputs[0] - inputs[0].max(step["axis"], keepdims=True))
    return powers / powers.sum(step["axis"], keepdims=True)


def gelu(step, inputs):
    """x times the share of a normal distribution that lies below x."""
    below = 0.5 * (1 + np.vectorize(math.erf)(inputs[0] / math.sqrt(2)))
    return inputs[0] * below


def gelu_tanh(step, inputs):
    """The same by a hyperbolic tangent."""
    x = inputs[0]
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def concat(step, inputs):
    """One behind the other; what is the same for all images is repeated for each."""
    images = max(len(part) for part in inputs)
    parts = []
    for part in inputs:
        if len(part) < images:
            part = np.repeat(part, images // len(part), 0)
        parts.append(part)
    return np.concatenate(parts, step["axis"])


DIGITAL = {
    "relu": lambda step, inputs: np.maximum(inputs[0], 0),
    "sigmoid": lambda step, inputs: 1 / (1 + np.exp(-inputs[0])),
    "clip": lambda step, inputs: np.clip(inputs[0], step["low"], step["high"]),
    "add": lambda step, inputs: inputs[0] + inputs[1],
    "subtract": lambda step, inputs: inputs[0] - inputs[1],
    "multiply": lambda step, inputs: inputs[0] * inputs[1],
    "divide": lambda step, inputs: inputs[0] / inputs[1],
    "matmul": lambda step, inputs: inputs[0] @ inputs[1],
    "softmax": softmax,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "tanh": lambda step, inputs: np.tanh(inputs[0]),
    "slice": cut,
    "pad": lambda step, inputs: np.pad(inputs[0], step["widths"], constant_values=step["value"]),
    "mean": lambda step, inputs: inputs[0].mean(tuple(step["axes"]), keepdims=step["keep"]),
    "max_pool": lambda step, inputs: pool(step, inputs[0], -np.inf).max((4, 5)),
    "average_pool": lambda step, inputs: pool(step, inputs[0], 0.0).mean((4, 5)),
    "reshape": lambda step, inputs: inputs[0].reshape(-1, *step["sizes"]),
    "transpose": lambda step, inputs: inputs[0].transpose(step["axes"]),
    "concat": concat,
    "take": lambda step, inputs: np.take(inputs[0], step["places"], step["axis"]),
}


def main():
    """Classify images."""
    if len(sys.argv) not in (3, 4):
        raise SystemExit(USAGE)
    network = Network(sys.argv[1])
    classes = network(np.load(sys.argv[2])).argmax(1)
    if len(sys.argv) == 3:
        print(*classes)
        return
    labels = np.load(sys.argv[3])
    print(f"accuracy {np.mean(classes == labels):.2%} on {len(labels)} images")


if __name__ == "__main__":
    main()
