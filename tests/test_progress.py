"""Programs that are waited for: what they print and end with, and that nothing of them is left when the wait ends."""

import os
import sys
import time

import pytest

from openmm_nequip.progress import run_program


def test_code_and_output(tmp_path):
    with open(tmp_path / "log", "w+b") as log:
        code = run_program([sys.executable, "-c", "print('made'); raise SystemExit(3)"], "Making", log)
        log.seek(0)
        assert code == 3 and log.read() == b"made\n"


def test_a_program_that_is_not_there(tmp_path):
    with open(tmp_path / "log", "w+b") as log, pytest.raises(OSError):
        run_program([str(tmp_path / "missing")], "Making", log)


def alive(pid):
    """Whether a process runs; one that has ended and waits to be asked does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_nothing_is_left_when_the_wait_ends(tmp_path):
    """Neither the program nor what it has started."""
    note = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    with open(tmp_path / "log", "w+b") as log, pytest.raises(TimeoutError, match="did not finish in 2 s"):
        run_program([sys.executable, "-c", code], "Waiting", log, timeout_s=2)
    pids = [int(word) for word in note.read_text().split()]
    for _ in range(50):
        if not any(map(alive, pids)):
            break
        time.sleep(0.1)
    assert len(pids) == 2 and not any(map(alive, pids)) and os.getpid() not in pids
