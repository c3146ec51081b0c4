"""Flip one bit of a file and use it: damage must be noticed, or change no number.

    python benchmarks/bit_flips.py [--flips 200] [--seed 1] [--only WORD ...] [--models FILE ...]

Subjects are all files that this package writes or reads and believes: models of every format, what is kept in the
cache, run folders (finished, killed, still equilibrating; pure and hybrid; DCD, XTC and, with PyTables, HDF5) and
saved Systems. Each flip is made in a copy, which is then used as a user would (opened and evaluated; restarted) in a
process of its own, beside one that uses the undamaged copy. What became of it: ``noticed``, an error or a warning in
this package's words; ``harmless``, no word and the same numbers to the last bit; ``another number``, ``unclear`` (an
error in foreign words), ``crash`` and ``hang``, which must not be. One JSON document on stdout, exit code 1 where
there are such.
"""

import argparse
import importlib.util
import json
import logging
import os
import pickle
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import openmm
import torch

import openmm_nequip
from openmm_nequip import load_model
from openmm_nequip.app.run import finish
from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.app.run.run_folder import RunFolder
from openmm_nequip.errors import NotFusableError
from openmm_nequip.models.compiling.aot import cached_package
from openmm_nequip.models.compiling.example import example_graph
from openmm_nequip.models.formats import identify
from openmm_nequip.progress import no_programs

ROOT = Path(__file__).resolve().parent.parent
DATA, SHIPPED = ROOT / "tests" / "data", ROOT / "openmm_nequip" / "data"
PEPTIDE = SHIPPED / "alanine-dipeptide.pdb"
KINDS = ("noticed", "harmless", "another number", "unclear", "crash", "hang")
#: Seconds after which a use counts as hanging.
PATIENCE_S = 300.0
#: Words by which this package says that a file is not as it was.
WORDS = (
    "damaged", "truncated", "not a model", "no zip archive", "not as the run wrote it", "made anew", "is no TOML",
    "not the one the run was started from", "holds no run", "outside its own folder", "is not the one that", "no XML",
    "would run", "gone", "SHA-256", "not one of", "saved in version",
)  # fmt: skip
RUN = {"minimize": False, "equilibrate": 4, "report_interval": 2, "checkpoint_interval": 10, "seed": 7, "threads": 1,
       "backend": "PythonForce", "timestep": 0.1, "temperature": 30.0, "kernels": "fused",
       "platform": "Reference"}  # fmt: skip


#: Whether trajectories in HDF5 can be written here.
HDF5 = importlib.util.find_spec("tables") is not None
#: Imported once: a child of this process has them.
SLOW_MODULES = (
    "matplotlib.pyplot", "mdtraj", "nequip.data", "nequip.model", "nequip.nn", "nequip.train", "openmm.app", "openmmml",
    "pymbar.timeseries", "torch._inductor.codecache", "torch.package", "vesin",
)  # fmt: skip


class Subject:
    """Files to be damaged, and how they are used.

    Parameters
    ----------
    name : str
        For the table.
    prepare : callable
        Makes the undamaged files in an empty folder.
    use : callable
        Gets a folder with a copy of them, and gives numbers or bytes that must not change.
    names : str
        Glob of the files that are damaged, from the folder.
    """

    def __init__(self, name, prepare, use, names="*"):
        self.name, self.prepare, self.use, self.names = name, prepare, use, names


def evaluated(path, **options):
    """Energy and forces on a small structure."""
    model = load_model(path, **{"compile": False, **options})
    data = example_graph(len(model.info.type_names), model.info.cutoff)
    names = ("pos", "atom_types", "edge_index", "edge_cell_shift")
    out = model(*[data[name] for name in names], data["cell"][0])
    return float(out["energy"]), out["forces"].numpy().tobytes(), model.info.type_names, model.info.cutoff


def only(folder, names="*"):
    """The one file of a folder that has such a name."""
    (path,) = [path for path in folder.glob(names) if path.is_file()]
    return path


def a_model(path):
    """A model file, opened and evaluated."""
    return Subject(
        f"model {''.join(path.suffixes)} ({path.name.split('.')[0]})",
        lambda folder: shutil.copy(path, folder),
        lambda folder: evaluated(only(folder)),
    )


def compiled_here(folder):
    """A package of AOTInductor, as from ``nequip-compile``."""
    shutil.copy(cached_package(identify(DATA / "tiny-nequip.ckpt"), torch.device("cpu")), folder / "tiny.nequip.pt2")


def remember_compilations(folder):
    """Let the compiler hand out what it made before, so that libraries can be made anew two hundred times."""
    script = folder / "g++"
    script.write_text(
        "#!/bin/sh\n"
        'for last; do :; done\n'
        'case "$last" in *.cpp) ;; *) exec c++ "$@";; esac\n'
        f'kept={folder}/$(sha256sum < "$last" | cut -c1-64)\n'
        '[ -f "$kept" ] || { c++ "$@" -o "$kept.new" && mv "$kept.new" "$kept"; } || exit 1\n'
        'while [ "$1" != "-o" ]; do shift; done\n'
        'cp "$kept" "$2"\n'
    )
    script.chmod(0o755)
    return str(script)


def with_cache(folder, use):
    """What is kept in a cache folder, and used from there."""
    os.environ["OPENMM_NEQUIP_CACHE"] = str(folder / "cache")
    return use()


def rebuilt_in_a_tenth():
    """Making code and weights anew takes seconds: it is seen to the end one time in ten, else it ends at once."""
    from openmm_nequip.models import fused

    if os.urandom(1)[0] >= 26:

        def stop(*_):
            raise NotFusableError("made anew, which is not seen to the end here")

        fused._make = stop


def fused_cache(folder):
    """Everything that the cache keeps of fused kernels."""
    with_cache(folder, lambda: evaluated(DATA / "tiny-nequip.ckpt", compile=None, kernels="fused"))


def compiled_cache(folder):
    """What the cache keeps of AOTInductor."""
    (folder / "cache" / "compiled").mkdir(parents=True, mode=0o700)
    (folder / "cache").chmod(0o700)
    shutil.copy(cached_package(identify(DATA / "tiny-nequip.ckpt"), torch.device("cpu")), folder / "cache" / "compiled")


def use_compiled_cache(folder):
    """A damaged one is noticed and would be compiled again, for a minute; here that is where it ends."""
    os.environ["OPENMM_NEQUIP_CACHE"] = str(folder / "cache")
    with no_programs():
        return evaluated(DATA / "tiny-nequip.ckpt", kernels="none", compile=True)


def peptide_system():
    """A hybrid System of the dipeptide that carries its model."""
    from openmm import app
    from openmmml import MLPotential

    pdb = app.PDBFile(str(PEPTIDE))
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.ckpt"), kernels="fused")
    forces = app.ForceField("amber14-all.xml").createSystem(pdb.topology)
    return potential.createMixedSystem(pdb.topology, forces, list(range(6, 16)), embedModel=True)


def energy_of(system):
    """Numbers of a System: masses, energy and forces, and where it is after two steps."""
    from openmm import app

    context = openmm.Context(
        system, openmm.VerletIntegrator(0.0001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(app.PDBFile(str(PEPTIDE)).positions)
    first = context.getState(energy=True, forces=True)
    context.getIntegrator().step(2)
    after = context.getState(positions=True).getPositions(asNumpy=True)._value
    return first.getPotentialEnergy()._value, first.getForces(asNumpy=True)._value.tobytes(), after.tobytes()


def embedded(folder):
    """A System that carries its model, and the cache into which that was unpacked."""
    path = folder / "away.ckpt"
    shutil.copy(DATA / "tiny-nequip.ckpt", path)
    from openmm import app
    from openmmml import MLPotential

    potential = MLPotential("nequip", modelPath=str(path), kernels="fused")
    system = potential.createSystem(app.PDBFile(str(PEPTIDE)).topology, embedModel=True)
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    path.unlink()
    use_embedded(folder)


def use_embedded(folder):
    """Its energy."""
    os.environ["OPENMM_NEQUIP_CACHE"] = str(folder / "cache")
    return energy_of(openmm_nequip.read_system(folder / "system.xml"))


#: Uses with a cache folder of their own.
OWN_CACHE = (use_embedded,)


def saved_system(folder):
    """A hybrid System in a file of ours."""
    openmm_nequip.write_system(peptide_system(), folder / "system.xml")


def begin(folder, steps=20, **settings):
    """A run in ``folder/run``."""
    files = {"model": DATA / "tiny-nequip.ckpt", "structure": PEPTIDE}
    places = {name: shutil.copy(path, folder) for name, path in files.items()}
    start_run(make_config({**RUN, **places, "output": str(folder / "run"), "steps": steps, **settings}))
    for path in places.values():  # the copies in the run folder stay
        os.unlink(path)
    for picture in (folder / "run").glob("*.png"):
        picture.unlink()


def killed(folder, **settings):
    """A run that was killed some steps behind its last checkpoint."""
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        begin(folder, steps=10**6, **settings)
        os._exit(1)
    log = folder / "run" / "log.csv"
    while not log.exists() or log.read_text().count("\n") < 12:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for name in ("tiny-nequip.ckpt", PEPTIDE.name):
        (folder / name).unlink()


def equilibrating(folder):
    """A run that was killed while it equilibrated."""
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        save = RunFolder.save_checkpoint

        def save_and_die(*given):
            save(*given)
            os.kill(os.getpid(), signal.SIGKILL)

        RunFolder.save_checkpoint = save_and_die
        begin(folder, equilibrate=100, checkpoint_interval=50)
        os._exit(1)
    os.waitpid(child, 0)
    for name in ("tiny-nequip.ckpt", PEPTIDE.name):
        (folder / name).unlink()


def go_on(folder, steps=26):
    """What a restart leaves: rows, frames, State, findings and the numbers of the summary."""
    import mdtraj

    run = folder / "run"
    finish._draw = lambda *_: []  # pictures take nine tenths of the time, and no number comes from them
    restart_run(str(run), {"steps": steps})
    rows = (run / "log.csv").read_bytes()
    state = openmm.XmlSerializer.deserialize((run / "final-state.xml").read_text())
    (trajectory,) = run.glob("trajectory.*")
    frames = mdtraj.load(str(trajectory), **({} if trajectory.suffix == ".h5" else {"top": str(run / "start.pdb")}))
    summary = json.loads((run / "summary.json").read_text())
    for name in ("seconds", "ns_per_day", "pictures", "model", "structure"):
        summary.pop(name)
    findings = (run / "findings.json").read_bytes() if (run / "findings.json").exists() else b""
    return (
        rows, state.getPositions(asNumpy=True)._value.tobytes(), state.getVelocities(asNumpy=True)._value.tobytes(),
        frames.xyz.tobytes(), frames.time.tobytes(), json.dumps(summary, sort_keys=True), findings,
        (run / "config.toml").read_bytes().split(b"steps")[0],
    )  # fmt: skip


def subjects(more):
    """All of them."""
    hybrid = {"ml_atoms": "resname ALA", "forcefield": ["amber14-all.xml"]}
    found = [a_model(DATA / name) for name in ("tiny-nequip.ckpt", "tiny-nequip.nequip.zip", "tiny-nequip.nequip.pth")]
    found += [
        Subject("model .nequip.pt2 (tiny-nequip)", compiled_here, lambda folder: evaluated(only(folder))),
        *[a_model(path) for path in more],
    ]
    kernels = lambda folder: with_cache(  # noqa: E731
        folder, lambda: evaluated(DATA / "tiny-nequip.ckpt", compile=None, kernels="fused")
    )
    found += [
        Subject("cache: library of fused kernels", fused_cache, kernels, "cache/kernels/*.so"),
        Subject(
            "cache: code and weights of fused kernels", fused_cache,
            lambda folder: rebuilt_in_a_tenth() or kernels(folder), "cache/fused/*.npz",
        ),
        Subject("cache: AOTInductor", compiled_cache, use_compiled_cache, "cache/compiled/*"),
        Subject("cache: unpacked model", embedded, use_embedded, "cache/embedded/*"),
        Subject("System with its model inside", embedded, use_embedded, "system.xml"),
        Subject(
            "System of write_system",
            saved_system,
            lambda folder: energy_of(openmm_nequip.read_system(folder / "system.xml")),
        ),
    ]
    for name, prepare, kept in (
        ("finished run", begin, ("checkpoint.chk", "config.toml", "provenance.json", "log.csv", "trajectory.dcd",
                                 "start.pdb", "inputs/*", "checkpoint.xml")),
        ("finished hybrid run", lambda folder: begin(folder, trajectory="xtc", **hybrid),
         ("system.xml", "start.pdb", "trajectory.xtc", "config.toml")),
        ("killed run", killed, ("checkpoint.chk", "log.csv", "trajectory.dcd", "provenance.json")),
        ("killed hybrid run", lambda folder: killed(folder, trajectory="xtc", **hybrid),
         ("trajectory.xtc", "system.xml")),
        *int(HDF5) * [("killed run with HDF5", lambda folder: killed(folder, trajectory="h5"), ("trajectory.h5",))],
        ("equilibrating run", equilibrating, ("equilibration.chk", "equilibration.xml", "config.toml")),
    ):  # fmt: skip
        steps = 60 if name.startswith("killed") else 26
        use = lambda folder, steps=steps: go_on(folder, steps)  # noqa: E731
        found += [Subject(f"{name}: {pattern}", prepare, use, f"run/{pattern}") for pattern in kept]
        found.append(Subject(f"{name}: all other files", prepare, use, "run/*"))
    return found


class _Heard(logging.Handler):
    """What this package warned of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def answer(use, folder):
    """Use a copy in this process: an outcome, the numbers, and the words."""
    heard = _Heard()
    logging.getLogger("openmm_nequip").addHandler(heard)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            value, error = use(folder), None
        except Exception as caught:
            value, error = None, caught
    texts = heard.texts + [str(each.message) for each in warned if "openmm_nequip" in str(each.filename)]
    said = [text for text in texts if any(word in text for word in WORDS)]
    if error is None:
        return ("said" if said else "silent"), value, "; ".join(said)
    text = f"{type(error).__name__}: {error}"
    return ("refused" if any(word in text for word in WORDS) or said else "unclear"), None, text


def in_a_process(use, folder):
    """:func:`answer` in a child of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer(use, folder), pipe)
            pipe.flush()
        os._exit(0)
    os.close(writer)
    content, end = b"", time.monotonic() + PATIENCE_S
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            block = pipe.read(1 << 20) if ready else None
            if not block:
                break
            content += block
    if block is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if block is None:
        return "hang", None, f"no answer in {PATIENCE_S:g} s"
    if not content or status:
        return "crash", None, f"status {status}"
    return pickle.loads(content)


def flip(path, place):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    facts = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def same(one, other):
    """Whether two answers are equal, NaN included."""
    return pickle.dumps(one) == pickle.dumps(other)


def try_subject(subject, flips, seed, folder):
    """What became of the flips in a subject.

    Returns
    -------
    collections.Counter
        By :data:`KINDS`.
    list of str
        What should not be, or reads badly.
    """
    right = folder / "right"
    right.mkdir()
    # Made in a process of its own as well: nothing of it is in the memory of those that use it.
    state, _, words = in_a_process(lambda path: subject.prepare(path) and None, right)
    if state not in ("silent", "said"):
        raise SystemExit(f"{subject.name}: cannot be prepared: {words}")
    files = sorted(p for p in right.glob(subject.names) if p.is_file() and p.stat().st_size and p.suffix != ".png")
    if not files:
        return Counter(), ["there is no such file"]
    expected = None
    for _ in range(2):
        shutil.copytree(right, folder / "whole", symlinks=True)
        found = in_a_process(subject.use, folder / "whole")
        shutil.rmtree(folder / "whole")
        if found[0] != "silent" or expected is not None and not same(found[1], expected):
            raise SystemExit(f"{subject.name}: the undamaged file already gives {found[0]}, {found[2]}")
        expected = found[1]
    draw, counts, worth_a_look = random.Random(seed), Counter(), []
    for _ in range(flips):
        path = draw.choice(files)
        place = draw.randrange(8 * path.stat().st_size)
        copy = folder / "flipped"
        shutil.copytree(right, copy, symlinks=True)
        flip(copy / path.relative_to(right), place)
        state, value, words = in_a_process(subject.use, copy)
        shutil.rmtree(copy)
        outcome = {"refused": "noticed", "said": "noticed"}.get(state, state)
        if state == "silent":
            outcome = "harmless" if same(value, expected) else "another number"
        counts[outcome] += 1
        if outcome not in ("noticed", "harmless"):
            worth_a_look.append(f"{path.relative_to(right)}, bit {place}: {outcome}: {words[:300]}")
    return counts, worth_a_look


def main():
    """Try all subjects, or those that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[""], help="words of which a subject's name has one")
    parser.add_argument("--models", nargs="*", type=Path, default=[], help="more model files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in SLOW_MODULES:
        importlib.import_module(name)
    document, total = {}, Counter()
    usual = os.environ.get("CXX", "")
    compiler = remember_compilations(Path(tempfile.mkdtemp(prefix="flips-")))
    for subject in subjects(arguments.models):
        if not any(word in subject.name for word in arguments.only):
            continue
        began = time.monotonic()
        # Libraries of another compiler are others: it serves the subjects that have a cache of their own.
        os.environ["CXX"] = compiler if subject.use in OWN_CACHE or "cache" in subject.names else usual
        with tempfile.TemporaryDirectory() as folder:
            counts, worth_a_look = try_subject(subject, arguments.flips, arguments.seed, Path(folder))
        total += counts
        document[subject.name] = {kind: counts[kind] for kind in KINDS} | {"worth_a_look": worth_a_look}
        print(f"{subject.name}: {dict(counts)} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        for line in worth_a_look:
            print(f"    {line}", file=sys.stderr, flush=True)
    shutil.rmtree(Path(compiler).parent)
    document["all"] = {kind: total[kind] for kind in KINDS}
    print(json.dumps(document, indent=2))
    return int(any(total[kind] for kind in KINDS[2:]))


if __name__ == "__main__":
    sys.exit(main())
