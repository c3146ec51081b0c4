"""
Umbrella windows on a cluster
=============================

Windows along a torsion are so many runs that nobody starts by hand. ``openmm-nequip many`` runs a table of them, here
on two workers of this machine, with one line changed on SLURM or PBS; ``openmm-nequip pmf`` makes the free energy of
them.
"""

# %%
# The table: what all runs share, and a bias for each. A run whose worker dies goes on from its checkpoint on another
# one, with the same frames, and the same command again does what is not done yet.
import csv
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt

data = files("openmm_nequip") / "data"
centres = range(-150, -29, 20)
biases = ", ".join(f'["torsion 4 6 8 10 {centre} 60"]' for centre in centres)
Path("windows.toml").write_text(f"""
output = "windows"
workers = 2
scheduler = "local"
[common]
model = "{data / 'alanine-dipeptide.nequip.zip'}"
structure = "{data / 'alanine-dipeptide.pdb'}"
steps = 20000
timestep = 1.0
report-interval = 20
equilibrate = "2000"
platform = "Reference"
temperature = 300
[grid]
bias = [{biases}]
seed = [1]
""")


def command(*words):
    """A command of the package, and the end of what it says."""
    line = [sys.executable, "-m", "openmm_nequip", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    print("\n".join(done.stdout.splitlines()[-8:]))


command("many", "--config", "windows.toml")

# %%
# MBAR puts the windows together, with errors from frames that are independent.
folders = sorted(str(path.parent) for path in Path("windows").glob("*/summary.json"))
command("pmf", *folders, "--output", "pmf")
with open("pmf/pmf.csv") as file:
    rows = list(csv.reader(file))
print(rows[0])

# %%
# Between the windows at both ends the free energy has its error bars; where no window was there is none.
table = [[float(value) for value in row] for row in rows[1:]]
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
place, value, error = ([row[column] for row in table] for column in range(3))
axes.errorbar(place, value, error, capsize=2, color="#0072b2")
axes.set(xlabel="φ, degrees", ylabel="free energy, kJ/mol")
plt.show()
