"""Package a checkpoint with nequip-package and compress the package.

nequip-package stores its files uncompressed. The same files under the same names, deflated, are less than half as
large, and torch.package reads them as they are. Nothing is left out.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="for example stage2/best.ckpt")
    parser.add_argument("output", type=Path, help="for example alanine-dipeptide.nequip.zip")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        # The same name in another folder, because the names inside the package begin with the name of the file.
        stored = Path(folder) / options.output.name
        code = "from nequip.scripts.package import main; main()"
        subprocess.run([sys.executable, "-c", code, "build", options.checkpoint, str(stored)], check=True)
        with zipfile.ZipFile(stored) as source:
            contents = {member.filename: source.read(member) for member in source.infolist()}
        before = stored.stat().st_size
    for name, content in contents.items():
        # A path of the machine that trained the model is of no use to others.
        if name.endswith("model/config.yaml") and re.search(rb"(?m)[:\s]/\w", content):
            raise SystemExit(f"{name} contains an absolute path")
    with zipfile.ZipFile(options.output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    print(f"{options.output}: {options.output.stat().st_size / 1e3:.0f} kB, {before / 1e3:.0f} kB before compression")


if __name__ == "__main__":
    main()
