"""Runs a command and ends it, with all that it started, when whoever asked for it is gone: run as a script.

    python supervisor.py SCRATCH COMMAND...

The one who asks holds the other end of our standard input; when that closes, by intention or because the process died
in whatever way, the command's process group is killed, and the folder SCRATCH, unless that is empty, is taken away. It
imports nothing of this package.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run the command.

    Returns
    -------
    int
        Its exit code; 128 + n if a signal ended it.
    """
    scratch = sys.argv[1]
    process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, start_new_session=True)

    asked = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        asked.set()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself

    threading.Thread(target=watch, daemon=True).start()
    code = process.wait()
    if scratch and asked.is_set():
        shutil.rmtree(scratch, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # The watching thread may hold the lock of standard input, which an ordinary exit would wait for.
    code = main()
    sys.stdout.flush()
    os._exit(code)
