"""A process with pocl that runs the cases of native_cases.py."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pocl import pocl_environment


class NativeProcess:
    """Called with a case and its arguments, gives its answer."""

    def __init__(self):
        self._errors = tempfile.TemporaryFile("w+")
        script = Path(__file__).with_name("native_worker.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors, "text": True}
        environment = os.environ | pocl_environment()
        self._process = subprocess.Popen([sys.executable, str(script)], env=environment, **pipes)

    def __call__(self, case, **arguments):
        self._process.stdin.write(json.dumps({"case": case, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("@"):
                reply = json.loads(line[1:])
                if "error" in reply:
                    raise RuntimeError(reply["error"])
                return reply["answer"]
        self._errors.seek(0)
        raise RuntimeError(f"the process ended with {self._process.wait()}: {self._errors.read()[-2000:]}")

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self._errors.close()
