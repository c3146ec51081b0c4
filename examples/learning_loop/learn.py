"""nequip-train, then nequip-package, in one process: loading torch twice takes longer than a short training.

The same as these two commands in FOLDER's parent:

    nequip-train -cp HERE -cn CONFIG hydra.run.dir=. folder=FOLDER KEY=VALUE ...
    nequip-package build FOLDER/best.ckpt FOLDER.nequip.zip
"""

import sys
from pathlib import Path

from nequip.scripts import package, train


def main():
    config, folder, *settings = sys.argv[1:]
    here = str(Path(__file__).resolve().parent)
    sys.argv = ["nequip-train", "-cp", here, "-cn", config, "hydra.run.dir=.", f"folder={folder}", *settings]
    train.main()
    sys.argv = ["nequip-package", "build", f"{folder}/best.ckpt", f"{folder}.nequip.zip"]
    package.main()


if __name__ == "__main__":
    main()
