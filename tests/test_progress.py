"""Programs that are waited for: what they print and end with, and that nothing of them is left when the wait ends."""

import signal
import subprocess
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


SLEEPER = (
    "import os, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}')\n"
    "time.sleep(60)\n"
)


def gone(note):
    """Whether the processes that a note names end within some seconds."""
    pids = [int(word) for word in note.read_text().split()]
    assert len(pids) == 2
    for _ in range(100):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_nothing_is_left_when_the_wait_ends(tmp_path):
    """Neither the program nor what it has started."""
    note = tmp_path / "pids"
    with open(tmp_path / "log", "w+b") as log, pytest.raises(TimeoutError, match="did not finish in 3 s"):
        run_program([sys.executable, "-c", SLEEPER, str(note)], "Waiting", log, timeout_s=3)
    assert gone(note)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_this_process_dies(tmp_path, number):
    note = tmp_path / "pids"
    code = (
        "import sys\nfrom openmm_nequip.progress import run_program\n"
        "with open(sys.argv[1] + '.log', 'w+b') as log:\n"
        "    run_program([sys.executable, '-c', sys.argv[2], sys.argv[1]], 'Waiting', log)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(note), SLEEPER])
    for _ in range(300):
        if note.exists() and note.read_text().count(" "):
            break
        time.sleep(0.1)
    process.send_signal(number)
    process.wait()
    assert gone(note)
