"""Runs a command and ends it, with all that it started, when whoever asked for it is gone: run as a script.

    python supervisor.py COMMAND...

The one who asks holds the other end of our standard input; when that closes, by intention or because the process died
in whatever way, the command's process group is killed. It imports nothing of this package.
"""

import os
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
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def watch() -> None:
        sys.stdin.buffer.read()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself

    threading.Thread(target=watch, daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # The watching thread may hold the lock of standard input, which an ordinary exit would wait for.
    code = main()
    sys.stdout.flush()
    os._exit(code)
