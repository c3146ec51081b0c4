"""Runs functions of native_cases.py and native_feature_cases.py.

A line of JSON in with name and arguments, a line out with the answer.

A process of its own, because OpenMM takes whatever OpenCL it finds: run with the environment that ``pocl.sh`` makes.
"""

import json
import sys
import traceback


def main():
    out, sys.stdout = sys.stdout, sys.stderr  # OpenMM prints warnings
    import native_cases
    import native_feature_cases

    for line in sys.stdin:
        asked = json.loads(line)
        try:
            home = native_cases if hasattr(native_cases, asked["case"]) else native_feature_cases
            reply = {"answer": getattr(home, asked["case"])(**asked["arguments"])}
        except Exception:
            reply = {"error": traceback.format_exc()}
        out.write("@" + json.dumps(reply) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
