"""Messages of the library as the command line says them: arguments of Python are its options."""

from __future__ import annotations

import re

# From what the library says to what one types; longer phrases before those that they hold.
OPTIONS = {
    "give a budget of cycles": "give --max-cycles",
    "give resume=True to go on with it": "add --resume to go on with it",
    "resume=True": "--resume",
    "image_size=(H, W)": "--image-size HxW",
    "lower batch_size": "lower --batch",
    "bits, such as bits=4": "--bits 4",
    "bits=4": "--bits 4",
    "cell_bits=2": "--cell-bits 2",
    "lower cell_bits": "lower --cell-bits",
    "fit=True for the next lower one": "--fit the next lower one",
    "load it into the network (load_state_dict)": "give it as a checkpoint (--checkpoint FILE)",
    "omit compiled=True": "omit --compile",
    "omit adc": "omit --adc",
    "omit count_rounding": "omit --count-rounding",
    "omit mux": "omit --mux",
    "; max_drop=0.01 is one point": "; --max-drop 1 is one point",
    "force=True does it all the same": "--force-low-rank does it all the same",
    "trust_code=True, or name what builds the network yourself": (
        "--trust-code, or name what builds the network yourself"
    ),
    "linear=True": "--linear",
    "give those (checkpoint=)": "give those (--checkpoint)",
    "give them (checkpoint=), a metric for data with targets (metric=), or": (
        "give them (--checkpoint), a metric for data with targets (--metric), or"
    ),
    "(max_loss), or say that they are classes (outputs='scores:1')": (
        "(--max-loss), or say that they are classes (--outputs scores:1)"
    ),
    "metric=function": "--metric package.module:function",
    "factory='package.module:factory'": "--model package.module:factory",
    "Give the network itself (model=), or name it in the run, run(..., name='package.module:factory')": (
        "Name what builds it, --model package.module:factory"
    ),
}

# Fields that have an option of another name, where a message has their value behind them: `repeats (=0)`.
FIELDS = {"batch_size": "--batch", "batch size": "--batch", "peak_rate": "--rate", "repeats": "--chips"}


def in_options(message: str) -> str:
    """A message of the library in the words of the command line."""
    for field, option in FIELDS.items():
        message = re.sub(rf"(?<![\w-]){field}(?= \(=)", option, message)
    for python, option in OPTIONS.items():
        # Whole words: `adc-bits=4,6,8` is typed already.
        whole = rf"(?<![\w-]){re.escape(python)}(?![\w,])"
        message = re.sub(whole, option, message)
    return message
