"""Stands in for the compile worker: writes its output slowly and in pieces, as a linker does."""

import sys
import time

CONTENT = b"piece " * 5

if __name__ == "__main__":
    with open(sys.argv[2], "wb") as file:
        for piece in range(5):
            file.write(CONTENT[6 * piece : 6 * piece + 6])
            file.flush()
            time.sleep(0.2)
