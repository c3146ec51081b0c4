"""``python -m openmm_nequip``: the command ``openmm-nequip``."""

import sys

from .app.cli import main

sys.exit(main())
