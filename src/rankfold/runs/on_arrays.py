"""The accuracy on arrays that simulations in a run's folder found, for the energy of the same machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rankfold.cost.energy import ACCURACY, ArrayAccuracy, NetworkEnergy
from rankfold.documents import read_json
from rankfold.errors import InputError
from rankfold.machine.description import from_json as hardware_from_json
from rankfold.machine.nonideal import NonIdealities
from rankfold.models.pretrained import file_digest
from rankfold.records.claim import IDENTITY
from rankfold.records.typed import is_typed
from rankfold.runs.energy_record import machine_of
from rankfold.runs.folder import RunFolder

if TYPE_CHECKING:
    from rankfold.runs.result import Result

PATTERN = "simulation*.json"  # what `rankfold simulate --out` wrote into the folder
TYPE, VERSION = "rankfold.simulation", 1


def simulated_accuracy(folder: str | Path, machine: Mapping[str, Any]) -> ArrayAccuracy | None:
    """What the run in a folder keeps on arrays without noise, by the simulations that its folder holds.

    Args:
        folder: of the run; looked through are its files `simulation*.json`.
        machine: the arrays and their ADCs, see `machine_of`.

    Returns:
        that of the simulation of most images; None: this machine was not simulated.
    """
    paths = sorted(Path(folder).glob(PATTERN))
    if not paths:
        return None
    run = _run_in(RunFolder(Path(folder), ""))
    if run is None:
        return None
    best: ArrayAccuracy | None = None
    for path in paths:
        found = _read(path, machine, run)
        if found is not None and (best is None or found.images > best.images):
            best = found
    return best


def energy_with_accuracy(energy: NetworkEnergy, folder: str | Path) -> NetworkEnergy:
    """The energy of a run, as its plan lays it out, with what these arrays keep, if its folder says so."""
    found = simulated_accuracy(folder, machine_of(energy.array, energy.table.adc_bits))
    return replace(energy, accuracy=found)


def with_accuracy(result: Result, folder: str | Path) -> Result:
    """The result of a run with what its arrays keep, if its folder says so since."""
    energy = result.energy
    if energy is None or energy.machine is None or energy.accuracy_on_arrays is not None:
        return result
    found = simulated_accuracy(folder, energy.machine)
    return replace(result, energy=replace(energy, accuracy_on_arrays=found))


def _run_in(folder: RunFolder) -> str | None:
    """What simulations know the network in a folder by, as `StoredNetwork.run` is; None: nothing says so."""
    try:
        if folder.result.is_file():
            return str(read_json(folder.result)["run"])
        if folder.weights.is_file():
            return file_digest(folder.weights)
    except (InputError, KeyError, TypeError):
        # What costs are asked of does not need a result that can be read.
        return None
    return None


def _read(path: Path, machine: Mapping[str, Any], run: str) -> ArrayAccuracy | None:
    """The accuracy in one file; None: it is of other arrays or of another run, or no finished simulation."""
    try:
        content = read_json(path)
        if not is_typed(content, TYPE, VERSION) or content[IDENTITY]["run"] != run:
            return None
        simulation = content["simulation"]
        hardware = hardware_from_json(simulation["hardware"], str(path))
        if hardware.noise != NonIdealities() or simulation["digital"]:
            return None
        if machine_of(hardware.array, hardware.adc_bits) != dict(machine):
            return None
        return ArrayAccuracy(
            accuracy=fmean(simulation["accuracies"]),
            ideal=float(simulation["ideal"]),
            images=int(simulation["images"]),
            seed=int(simulation["seed"]),
            measured=str(simulation.get("measured", ACCURACY)),
        )
    except (InputError, KeyError, TypeError, ValueError):
        # Begun, or edited: it says nothing yet.
        return None
