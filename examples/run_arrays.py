"""Run a network from array images alone: the files of `rankfold export DIR --to arrays`, NumPy, and nothing else.

    python examples/run_arrays.py ARRAYS images.npy [labels.npy]

`images.npy` holds normalised images (N, C, H, W). Prints the class of each image, or the accuracy where there are labels. This is
an independent reader: it shares no code with Rankfold and follows docs/arrays.md.
"""

import json
import sys
from pathlib import Path

import numpy as np

PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class Network:
    """The arrays, and the digital steps between them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.content = json.loads((self.folder / "placement.json").read_text())
        if (self.content["_type"], self.content["_version"]) != ("rankfold.placement", 1):
            raise SystemExit(f"{folder} is no placement of version 1")
        self.layers = {layer["name"]: layer for layer in self.content["layers"]}
        self.digital = dict(np.load(self.folder / "digital.npz"))
        self.cells = [
            np.load(self.folder / array["file"])["cells"].astype(np.float64)
            for array in self.content["arrays"]
        ]
        self.sums = {}  # accumulators of each layer on the last images, for whoever wants to look

    def __call__(self, images):
        """(N, classes) of images (N, C, H, W)."""
        values = {self.content["input"]["name"]: np.asarray(images, np.float64), **self.digital}
        for step in self.content["steps"]:
            values[step["output"]] = self.step(step, [values[name] for name in step["inputs"]])
        return values[self.content["output"]]

    def step(self, step, inputs):
        """One step of the program."""
        op, x = step["op"], inputs[0]
        if op == "layer":
            return self.layer(self.layers[step["layer"]], x)
        if op == "scale_channels":
            scale, shift = (
                self.digital[step[key]].reshape(1, -1, *[1] * (x.ndim - 2)) for key in ("scale", "shift")
            )
            return x * scale + shift
        if op == "relu":
            return np.maximum(x, 0)
        if op == "sigmoid":
            return 1 / (1 + np.exp(-x))
        if op == "clip":
            return np.clip(x, step["low"], step["high"])
        if op == "add":
            return x + inputs[1]
        if op == "multiply":
            return x * inputs[1]
        if op == "slice":
            return x[(slice(None),) * step["axis"] + (slice(step["start"], step["stop"], step["step"]),)]
        if op == "pad":
            return np.pad(x, step["widths"], constant_values=step["value"])
        if op == "mean":
            return x.mean(tuple(step["axes"]), keepdims=step["keep"])
        if op in ("max_pool", "average_pool"):
            return self.pool(step, x)
        if op == "reshape":
            return x.reshape(len(x), *step["sizes"])
        if op == "transpose":
            return x.transpose(step["axes"])
        if op == "concat":
            return np.concatenate(inputs, step["axis"])
        raise SystemExit(f"unknown step {op}")

    def pool(self, step, x):
        """Maximum or mean over windows."""
        lowest = -np.inf if step["op"] == "max_pool" else 0.0
        (py, px), (sy, sx) = step["padding"], step["stride"]
        x = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)), constant_values=lowest)
        windows = np.lib.stride_tricks.sliding_window_view(x, step["kernel"], (2, 3))[:, :, ::sy, ::sx]
        return windows.max((4, 5)) if step["op"] == "max_pool" else windows.mean((4, 5))

    def layer(self, layer, x):
        """Quantise the input, run the arrays, scale the sums, add the bias."""
        levels = layer["input_levels"]
        integers = np.clip(np.rint(x * levels["reciprocal"]), levels["low"], levels["high"])
        flat = layer["kind"] == "linear"
        vectors = integers.reshape(-1, layer["input"][0], 1, 1) if flat else integers
        sums = self.accumulate(layer, vectors)
        self.sums[layer["name"]] = sums
        y = sums * (layer["weight_levels"]["scale"] * levels["scale"])
        if layer["bias"] is not None:
            y = y + self.digital[layer["bias"]].reshape(1, -1, 1, 1)
        return y.reshape(*x.shape[:-1], -1) if flat else y

    def accumulate(self, layer, integers):
        """(N, m, OH, OW) sums of integer products, activation by activation of every array."""
        top, bottom, left, right = layer["padding"]
        padded = np.pad(
            integers, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=PADDING[layer["padding_mode"]]
        )
        stride, per_weight = layer["stride"], layer["cells"]["columns_per_weight"]
        factors, reference = np.array(layer["cells"]["factors"], float), layer["cells"]["reference_factor"]
        result = np.zeros((len(integers), *layer["output"]))
        slices = self.slices(layer["input_levels"], padded)
        for region in layer["regions"]:
            for number in region["arrays"]:
                array, cells = self.content["arrays"][number], self.cells[number]
                rows, columns = np.array(array["rows"]), np.array(array["columns"])
                for activation in region["activations"]:
                    # A slot without a window is driven with zeros, and its columns are not read.
                    there = np.array([window is not None for window in activation])
                    windows = np.array([window or [0, 0, 0, 0] for window in activation])
                    rows_on, columns_on = there[rows[:, 3]], there[columns[:, 3]]
                    y = windows[rows[:, 3], 0] * stride[0] + rows[:, 1]
                    x = windows[rows[:, 3], 1] * stride[1] + rows[:, 2]
                    sums = 0.0
                    for factor, part in slices:
                        driven = part[:, rows[:, 0], y, x] * rows_on  # (N, r)
                        read = driven @ cells  # (N, physical columns)
                        weights = (
                            read[:, : per_weight * len(columns)].reshape(len(driven), -1, per_weight)
                            * factors
                        ).sum(2)
                        if reference is not None:
                            weights = weights + reference * read[:, -1:]
                        sums = sums + factor * weights
                    out_y, out_x = (
                        windows[columns[:, 3], 0] + columns[:, 1],
                        windows[columns[:, 3], 1] + columns[:, 2],
                    )
                    # Pixels that an earlier window has given already do not count again.
                    counts = (
                        columns_on
                        & (out_y >= windows[columns[:, 3], 2])
                        & (out_x >= windows[columns[:, 3], 3])
                    )
                    result[:, columns[counts, 0], out_y[counts], out_x[counts]] += sums[:, counts]
        return result

    def slices(self, levels, integers):
        """(factor, values driven) of each slice of the inputs, least significant first."""
        factors, left = levels["slice_factors"], integers.astype(np.int64)
        found = []
        for place, factor in enumerate(factors):
            last = place == len(factors) - 1
            if last and factor > 0 and levels["signed"]:
                part = left  # the sign is in the last slice, which is driven with both signs
            elif last:
                part = left & (1 if factor < 0 else (1 << levels["bits"]) - 1)
            else:
                part = left % (abs(factors[place + 1]) // factor)
            found.append((factor, part.astype(np.float64)))
            if not last:
                left = left >> (abs(factors[place + 1]) // factor).bit_length() - 1
        return found


def main():
    """Classify images."""
    if len(sys.argv) not in (3, 4):
        raise SystemExit("usage: run_arrays.py ARRAYS images.npy [labels.npy]")
    classes = Network(sys.argv[1])(np.load(sys.argv[2])).argmax(1)
    if len(sys.argv) == 3:
        print(*classes)
    else:
        labels = np.load(sys.argv[3])
        print(f"accuracy {np.mean(classes == labels):.2%} on {len(labels)} images")


if __name__ == "__main__":
    main()
