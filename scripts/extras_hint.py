"""That each extra that is not installed is asked for in one sentence, with how to get it.

    python scripts/extras_hint.py

Run where rankfold is installed without extras, such as by scripts/test_install.sh. Exits with 1 where an
extra fails in another way, and says which of them are installed and could not be looked at.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

# Extra -> the module that it brings, and a command that needs it.
SMALL = ["resnet8", "--data", "digits", "--epochs", "0", "--baseline-epochs", "0", "--out", "c"]
SEARCH = ["--search", "nsga2", "--trials", "2", "--max-cycles", "50%"]
COMMANDS = {
    "search": ("optuna", ["plan", "resnet8", "--data", "digits", "--checkpoint", "w.safetensors", *SEARCH]),
    "channels": (
        "torch_pruning",
        ["compress", *SMALL, "--method", "channel", "--ratio", "0.5"],
    ),
    "cluster": ("ray", ["reproduce", "smoke", "--ray", "local", "--out", "r"]),
    "onnx": ("onnxscript", ["export", "run", "--to", "onnx", "--out", "net.onnx"]),
    "hf": ("transformers", ["map", "hf:mobilenet_v2"]),
    "events": ("simpy", ["chip", "resnet20", "--chip", "isaac", "--check"]),
    "zigzag": ("zigzag", ["energy", "resnet20", "--technology", "zigzag"]),
    "notebooks": ("nbclient", None),  # documentation alone needs it
    "docs": ("mkdocs", None),
    "dev": ("pytest", None),
}


def rankfold(*arguments, folder):
    command = [sys.executable, "-m", "rankfold", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def complaint(extra, folder):
    """What is wrong with how an extra is asked for; empty: nothing."""
    done = rankfold(*COMMANDS[extra][1], folder=folder)
    last = (done.stderr.strip() or "nothing").splitlines()[-1]
    if done.returncode == 2 and "pip install" in last and "Traceback" not in done.stderr:
        return ""
    return f"exit code {done.returncode}: {last}"


def main():
    extras = {line.partition("extra ==")[2].strip().strip("'\"") for line in requires("rankfold") or ()} - {
        ""
    }
    unknown = extras - set(COMMANDS)
    failed = [f"{extra}: say in this script which command needs it" for extra in sorted(unknown)]
    with tempfile.TemporaryDirectory() as folder:
        made = rankfold(
            "train", "resnet8", "--data", "digits", "--epochs", "0", "--out", "run", folder=folder
        )
        assert made.returncode == 0, made.stderr
        weights = (Path(folder) / "run" / "model.safetensors").read_bytes()
        (Path(folder) / "w.safetensors").write_bytes(weights)
        for extra in sorted(extras & set(COMMANDS)):
            module, command = COMMANDS[extra]
            if command is None:
                continue
            if find_spec(module) is not None:
                print(f"{extra}: installed, so not looked at")
                continue
            wrong = complaint(extra, folder)
            print(f"{extra}: {wrong or 'asked for in one sentence'}")
            if wrong:
                failed.append(extra)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
