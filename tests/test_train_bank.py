"""The bank of arrays: every row made once, and kept whatever happens to the process."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scorefield.errors import MachineError, RequestError
from scorefield.train.bank import Bank

ROOT = Path(__file__).parents[1]
COUNT, SHAPE = 20, (2, 3)

Indices = NDArray[np.int64]
Rows = NDArray[np.float16]


def _rows(indices: Indices) -> Rows:
    """Six numbers a row, exact in half precision, no two rows alike."""
    return (indices[:, None, None] * 6.0 + np.arange(6.0).reshape(SHAPE)).astype(np.float16)


class Maker:
    """Makes rows, and keeps which it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, indices: Indices) -> Rows:
        self.asked.append(indices.tolist())
        return _rows(indices)


def _bank(path: Path, count: int = COUNT) -> tuple[Bank, Maker]:
    maker = Maker()
    return Bank(path, count, SHAPE, maker), maker


def _assert_rows(bank: Bank, indices: list[int]) -> None:
    rows = bank[np.array(indices)]
    assert np.isfinite(rows).all()
    assert rows.dtype == np.float16
    assert np.array_equal(rows, _rows(np.array(indices)))


def test_rows_are_made_once_and_all_missing_ones_in_one_call(tmp_path: Path) -> None:
    bank, maker = _bank(tmp_path / "bank")
    _assert_rows(bank, [3, 1, 4])
    _assert_rows(bank, [4, 1, 5, 9])
    _assert_rows(bank, [9, 3, 3])
    assert maker.asked == [[3, 1, 4], [5, 9]]


def test_a_row_asked_for_twice_at_once_is_right_in_both_places(tmp_path: Path) -> None:
    bank, _ = _bank(tmp_path / "bank")
    _assert_rows(bank, [7, 0, 7])


def test_rows_survive_reopening(tmp_path: Path) -> None:
    _assert_rows(_bank(tmp_path / "bank")[0], [0, COUNT - 1])
    bank, maker = _bank(tmp_path / "bank")
    _assert_rows(bank, [COUNT - 1, 2, 0])
    assert maker.asked == [[2]]


def test_what_a_bank_gives_may_be_changed_without_changing_the_bank(tmp_path: Path) -> None:
    bank, _ = _bank(tmp_path / "bank")
    bank[np.array([1])][:] = 0
    _assert_rows(bank, [1])


def test_a_missing_folder_is_made_and_the_disk_fills_as_rows_are_made(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "bank"
    Bank(path, 1_000_000, (64,), lambda indices: np.zeros((len(indices), 64), np.float16))
    status = path.stat()
    assert status.st_size == 1_000_000 * (2 * 64 + 1)
    assert status.st_blocks * 512 < 100_000


@pytest.mark.parametrize("count", [COUNT + 1, COUNT - 1])
def test_a_bank_of_another_count_is_refused_and_keeps_its_rows(tmp_path: Path, count: int) -> None:
    _assert_rows(_bank(tmp_path / "bank")[0], [2, 3])
    with pytest.raises(
        RequestError, match=f"a bank of {COUNT} rows, 2 of them computed; use it with --set count={COUNT}"
    ):
        _bank(tmp_path / "bank", count)
    bank, maker = _bank(tmp_path / "bank")
    _assert_rows(bank, [2, 3])
    assert maker.asked == []


@pytest.mark.parametrize("size", [1, 259, 260, 261, 273, 5000])
def test_a_file_that_is_not_a_bank_is_refused_and_left_as_it_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "novel.txt"
    text = (b"It was a dark and stormy night; " * 200)[:size]
    path.write_bytes(text)
    with pytest.raises(RequestError, match="is not a bank of this recipe"):
        _bank(path)
    assert path.read_bytes() == text


def test_a_bank_that_was_killed_before_it_had_its_size_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "bank").write_bytes(b"")
    _assert_rows(_bank(tmp_path / "bank")[0], [2, 3])


def test_what_is_no_regular_file_is_never_opened_as_a_bank(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(RequestError, match="is not a regular file"):
            _bank(path)


def test_rows_that_cannot_be_made_are_asked_for_again(tmp_path: Path) -> None:
    def sick(indices: Indices) -> Rows:
        raise MemoryError

    with pytest.raises(MemoryError):
        Bank(tmp_path / "bank", COUNT, SHAPE, sick)[np.array([1, 2])]
    bank, maker = _bank(tmp_path / "bank")
    _assert_rows(bank, [2, 1])
    assert maker.asked == [[2, 1]]


def test_a_full_disk_is_one_answer_and_costs_no_row(tmp_path: Path) -> None:
    """A limit on the size of files answers as a full disk does."""
    bank, maker = _bank(tmp_path / "bank")
    _assert_rows(bank, [1])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (COUNT + 2 * 12, limit[1]))  # the marks and two rows
    try:
        with pytest.raises(MachineError, match=r"cannot write .*bank \(File too large\); its other rows are kept"):
            bank[np.array([0, 5])]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    _assert_rows(bank, [1, 0, 5])
    assert maker.asked == [[1], [0, 5], [0, 5]]


@pytest.mark.parametrize("moment", ["while it makes rows", "between the rows and their marks"])
def test_a_killed_writer_costs_no_row_but_its_last(tmp_path: Path, moment: str) -> None:
    code = f"""
import os, signal, sys
import numpy as np
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
from scorefield.train.bank import Bank
from test_train_bank import COUNT, SHAPE, _rows

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def make(indices):
    if 11 in indices and {moment.startswith("while")}:
        kill()
    return _rows(indices)

class Killed(Bank):
    def _mark(self, file, indices):
        if 11 in indices:
            kill()
        super()._mark(file, indices)

bank = Killed(Path({str(tmp_path / "bank")!r}), COUNT, SHAPE, make)
bank[np.array([5, 6])]
bank[np.array([6, 10, 11])]
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    bank, maker = _bank(tmp_path / "bank")
    _assert_rows(bank, [5, 6, 10, 11])
    assert maker.asked == [[10, 11]]
