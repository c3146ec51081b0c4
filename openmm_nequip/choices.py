"""Values that options may take and names that stand in Systems; imports nothing, so the command line can show them."""

#: ``backend=`` for the force of our own.
NATIVE = "Native"
#: ``backend=``.
BACKENDS = ("auto", NATIVE, "PythonForce", "TorchForce", "PythonTorchForce")
#: OpenMM's platforms on GPUs, the fastest first.
GPU_PLATFORMS = ("CUDA", "HIP", "OpenCL")
#: ``kernels=``.
KERNELS = ("auto", "none", "fused")
#: ``cudaGraphs=``.
CUDA_GRAPHS = ("auto", True, False)
#: ``rule=``: which bonded terms of the force field a model replaces in a hybrid System.
RULES = ("openmm-ml", "gromacs", "all-in-set")
#: ``linkCharge=``: what becomes of the charge behind a cut bond in a hybrid System.
LINK_CHARGES = ("keep", "zero", "redistribute")
#: Prefix of models that are fetched by their id.
NEQUIP_NET = "nequip.net:"
#: Prefix of potentials that are functions or classes of Python: ``python:MODULE:NAME``.
PYTHON = "python:"
#: ``drive=``: which forces of a committee move the atoms, the mean of its models or those of the first.
DRIVES = ("mean", 0)
#: Name of the model's force in a System.
FORCE_NAME = "NequIP"
#: Families of models, by the names of the packages that make them.
FAMILIES = ("NequIP", "Allegro")
#: Name of the force whose bonds of zero strength declare molecules.
MOLECULES_NAME = "NequIPMolecules"
#: Name under which the potential is registered with OpenMM-ML.
POTENTIAL_NAME = "nequip"
