"""Runs of epochs with progress and callbacks, and checkpoints: tensors and plain values with a checksum."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from graphnoise import checks
from graphnoise.errors import DataError, InputError
from graphnoise.io import atomic_write

FORMAT = 1


class Resumable(Protocol):
    """A training run that goes on from its state."""

    history: dict[str, list[float | None]]
    best_accuracy: float

    @property
    def epochs_done(self) -> int:
        """Number of epochs done."""

    @property
    def finished(self) -> bool:
        """Whether training has ended."""

    def epoch(self) -> None:
        """Train one epoch."""

    def state(self) -> dict[str, Any]:
        """Return what is needed to resume."""

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned."""


def run_epochs(
    training: Resumable,
    name: str,
    epochs: int,
    *,
    progress: bool | None = None,
    on_epoch: Callable[[Any], object] | None = None,
    file: Path | None = None,
    every: int = 10,
    mark: str = "",
) -> None:
    """Train until the run has ended.

    Args:
        training: The run.
        name: What is trained, for the progress bar.
        epochs: Number of epochs at most.
        progress: Whether to show a progress bar; None: where standard error is a terminal.
        on_epoch: Called after each epoch with the run.
        file: Checkpoint, written at the end and each `every` epochs.
        every: Epochs between two checkpoints.
        mark: What the checkpoint is written for.

    Raises:
        DataError: The checkpoint cannot be written.
    """
    shown = sys.stderr.isatty() if progress is None else progress
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    try:
        with Progress(*columns, TimeRemainingColumn(), disable=not shown) as bar:
            task = bar.add_task("", total=epochs, completed=training.epochs_done)
            while not training.finished:
                training.epoch()
                if on_epoch is not None:
                    on_epoch(training)
                if file is not None and (training.finished or training.epochs_done % every == 0):
                    write_checkpoint(file, training.state(), mark)
                loss, best = training.history["loss"][-1], training.best_accuracy
                text = f"loss {loss:.3f}" + (f"  best on validation {best:.1%}" if best >= 0 else "")
                bar.update(task, completed=training.epochs_done, description=text)
    except KeyboardInterrupt as interrupt:
        if file is not None:
            anew = f"nothing is saved in {file} yet: the same call begins anew"
            interrupt.add_note(f"the same call goes on from {file}" if file.exists() else anew)
        raise


def check_file(file: object) -> None:
    """Raise `InputError` unless a checkpoint is None or the path of a file."""
    if file is not None and not (isinstance(file, str | Path) and Path(file).name and "\0" not in str(file)):
        checks.fail("checkpoint", "the path of a file", repr(file))


def checkpoint_path(file: str | Path | None) -> Path | None:
    """Return the path of a file with ~ checkpoint_path.

    Raises:
        InputError: There is no home folder.
    """
    try:
        return None if file is None else Path(file).expanduser()
    except RuntimeError as error:
        raise InputError(f"checkpoint: expected a home folder that is there, got {str(file)!r}") from error


def resume(training: Resumable, file: Path, mark: str, epochs: int, name: str) -> None:
    """Resume a training run from a checkpoint.

    Raises:
        InputError: It was written for other data or settings, or has more epochs.
        DataError: It is damaged.
    """
    state = read_checkpoint(file, mark, name)
    if not alike(training.state(), state):
        raise DataError(f"{file}: expected a checkpoint of {name}, got one of other entries or shapes")
    try:
        training.restore(state)
    except (LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: expected a checkpoint of {name}, got a damaged one") from error
    if training.epochs_done > epochs:
        expected = f"{training.epochs_done} or more, as {file} has them"
        checks.fail("epochs", expected, f"{epochs} (remove the file to start anew)")


def write_checkpoint(path: Path, state: dict[str, Any], mark: str) -> None:
    """Write a state to a file in one step; after an error the old file is unchanged.

    Raises:
        DataError: The file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "mark": mark, "state": state}, buffer)
    with atomic_write(path) as file:
        file.write(hashlib.blake2b(buffer.getvalue()).digest() + buffer.getvalue())


def read_checkpoint(path: Path, mark: str, name: str) -> dict[str, Any]:
    """Return the state in a file, written for a run of this name.

    Raises:
        InputError: It was written for other data or settings.
        DataError: It cannot be read, or is not a checkpoint.
    """
    try:
        data = path.read_bytes()
        size = hashlib.blake2b().digest_size
        # torch does not notice a flipped bit.
        if hashlib.blake2b(data[size:]).digest() != data[:size]:
            raise DataError(f"{path}: expected a checkpoint of {name}, got another or a damaged file")
        content = torch.load(io.BytesIO(data[size:]), map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: expected a checkpoint of {name}, got another or a damaged file") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not {"mark", "state"} <= content.keys():
        raise DataError(f"{path}: expected a checkpoint of {name} (format {FORMAT}), got something else")
    if content["mark"] != mark:
        got = f"{path} of others (remove it to start anew)"
        raise InputError(f"checkpoint: expected one of the same data, seed and settings, got {got}")
    state: dict[str, Any] = content["state"]
    return state


def alike(ours: Any, stored: Any) -> bool:
    """Return whether a stored state may stand in for ours: the same types and shapes, entry by entry.

    What is empty or None before the first epoch may hold anything, as may lists, which grow.
    """
    if isinstance(ours, torch.Tensor):
        if not isinstance(stored, torch.Tensor) or stored.dtype != ours.dtype:
            return False
        same = stored.shape == ours.shape if ours.numel() else stored.dim() == ours.dim()
        return same and stored.numel() * stored.element_size() <= stored.untyped_storage().nbytes()
    if isinstance(ours, dict):
        return isinstance(stored, dict) and all(key in stored and alike(ours[key], stored[key]) for key in ours)
    return ours is None or type(ours) is type(stored)
