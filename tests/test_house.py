"""The form of the house: what may be borrowed and where, how large things are, what docstrings say, one name one thing.

Read from the source alone. Two measures are not here, with the reason: in how many files an option is named (``device``
is an attribute of every tensor; options travel as one ``Execution``), and camelCase by file (the OpenMM face is named
below).
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import openmm_nequip

PACKAGE = Path(openmm_nequip.__file__).parent
ROOT = PACKAGE.parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
HEADERS = sorted(PACKAGE.rglob("*.hpp"))
#: Private names of other packages that were ever borrowed here.
BORROWED = re.compile(
    r"sys\._getframe|gc\.get_objects|meta_path|openmm\._openmm|torch\._(inductor|dynamo)|pickle\.loads|"
    r"_latest_global_config|_GLOBAL_STATE_INITIALIZED|_get_model_file_path|_compile_utils|_from_saved_model|"
    r"_rmax_recip|_qqr2exesquare|_getVectorAsNumpy|_ONLY_APPLY_PERSISTENT"
)
#: Where names are OpenMM's, in its convention.
FACE = ("potential", "registration", "reporters", "stress", "crystal", "hybrid/builder", "hybrid/__init__",
        "app/engines/lammps/ranked_simulation")
LONGEST_FILE, LONGEST_BODY, MOST_PARAMETERS, MOST_BRANCHES = 400, 60, 7, 20
BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.IfExp, ast.comprehension)


def rel(path):
    return path.relative_to(PACKAGE).as_posix()


def functions():
    """Path, function, and whether it and everything around it is public."""
    for path, tree in TREES.items():
        waiting = [(tree, True)]
        while waiting:
            node, public = waiting.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.FunctionDef):
                    yield path, child, public and not child.name.startswith("_")
                    waiting.append((child, False))
                elif isinstance(child, ast.ClassDef):
                    waiting.append((child, public and not child.name.startswith("_")))
                elif isinstance(child, (ast.If, ast.Try, ast.With)):
                    waiting.append((child, public))


def arguments(function):
    given = function.args
    return [a for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in ("self", "cls")]


def where(path, node):
    return f"{rel(path)}:{node.lineno} {node.name}"


def test_what_is_borrowed_lives_in_upstream():
    found = [
        f"{rel(path)}:{number}"
        for path in TREES
        if path.parent.name != "upstream"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BORROWED.search(line.split("#")[0])
    ]
    assert found == []


def test_files_functions_and_signatures_stay_small():
    long_files = [rel(p) for p in [*TREES, *HEADERS] if len(p.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE]
    long_bodies, wide, knotty = [], [], []
    for path, function, _ in functions():
        body = function.body[1:] if ast.get_docstring(function) else function.body
        if body and function.end_lineno - body[0].lineno + 1 > LONGEST_BODY:
            long_bodies.append(where(path, function))
        if len(arguments(function)) > MOST_PARAMETERS:
            wide.append(where(path, function))
        if 1 + sum(isinstance(node, BRANCHES) for node in ast.walk(function)) > MOST_BRANCHES:
            knotty.append(where(path, function))
    assert long_files == [] and long_bodies == []
    assert len(wide) <= 1, wide  # the torch operator, whose arguments are those of its schema
    assert len(knotty) <= 2, knotty


def test_docstrings_state_parameters_errors_and_shapes():
    arrays = re.compile(r"\b(np\.ndarray|numpy\.ndarray|torch\.Tensor|Tensor)\b")
    shape = re.compile(r"\(\s*\)|\([^)]*(n_|n,|,\s*3\)|3,\s*3|k,|\w+,\s*\d|…|\.\.\.)[^)]*\)")
    elsewhere = re.compile(r"\b(see|as)\b[^.]{0,40}:(meth|func|class|mod):", re.IGNORECASE)
    bare, silent, shapeless = [], [], []
    for path, function, public in functions():
        if not public:
            continue
        text, given = ast.get_docstring(function) or "", arguments(function)
        refers = elsewhere.search(text)
        if not text or (len(given) > 1 and "Parameters\n" not in text and not refers):
            bare.append(where(path, function))
        if any(isinstance(n, ast.Raise) and n.exc is not None for n in ast.walk(function)) and "Raise" not in text:
            silent.append(where(path, function))
        takes_arrays = any(a.annotation is not None and arrays.search(ast.unparse(a.annotation)) for a in given)
        if takes_arrays and not refers and not shape.search(text):
            shapeless.append(where(path, function))
    assert silent == [] and shapeless == []
    assert len(bare) <= 40, bare


def test_names_are_used_once():
    stems, classes = defaultdict(list), defaultdict(list)
    for path in [*TREES, *HEADERS]:
        if path.stem != "__init__":
            stems[path.stem].append(rel(path))
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(rel(path))
    assert [files for files in stems.values() if len(files) > 1] == []
    assert [files for files in classes.values() if len(files) > 1] == []


def test_camel_case_is_for_the_face():
    found = [
        where(path, function)
        for path, function, _ in functions()
        if re.search("[a-z][A-Z]", function.name) and not rel(path).removesuffix(".py").startswith(FACE)
        and function.name not in ("describeNextReport", "getPositions")  # of reporters and of States
    ]  # fmt: skip
    assert found == []


def test_field_names_are_written_in_one_file():
    for key in ("edge_cell_shift", "edge_index", "atom_types", "pos", "NequIPMolecules", "NequIP"):
        files = [rel(path) for path in TREES if f'"{key}"' in path.read_text(encoding="utf-8")]
        assert len(files) <= 1, (key, files)


def test_modules_hold_no_state():
    """No module-level container that fills up: what changes belongs to an object."""
    found = []
    for path, tree in TREES.items():
        for node in tree.body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
                continue
            value = node.value
            made = isinstance(value, ast.Call) and ast.unparse(value.func) in ("set", "dict", "list") and not value.args
            empty = isinstance(value, ast.Dict) and not value.keys or isinstance(value, ast.List) and not value.elts
            if made or empty:
                found.append(f"{rel(path)}:{node.lineno}")
    assert found == []


def test_library_code_neither_asserts_nor_prints():
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if isinstance(node, ast.Assert) or called:
                found.append(f"{rel(path)}:{node.lineno}")
    assert found == []


#: Names with an underscore that are documented: OpenMM's number of a quantity, Python's and IPython's own.
STATED = ("_value", "_exit", "_repr_html_")


def test_tests_hold_on_to_public_names():
    found = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(a, ast.Attribute) and re.match("_[a-z]", a.attr) and a.attr not in STATED
                for a in ast.walk(node)
            ):
                found.append(f"{path.name}:{node.lineno} {node.name}")
    assert len(found) <= 10, found


def test_every_error_has_the_one_base():
    from openmm_nequip import errors

    own = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(value, errors.OpenMMNequIPError) for value in own)
    elsewhere = [
        where(path, node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and rel(path) != "errors.py"
        and any(re.search(r"(Error|Exception)$", ast.unparse(base)) for base in node.bases)
    ]  # fmt: skip
    assert elsewhere == []


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
    for name in re.findall(r"\]\(((?:docs|benchmarks)/[\w./-]+|\w+\.md)\)", (ROOT / "README.md").read_text("utf-8")):
        assert (ROOT / name).exists(), name
