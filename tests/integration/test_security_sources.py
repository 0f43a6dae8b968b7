"""What the sources must not hold: SQL put together from texts, pickle, shells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.rooms import ROOMS

UNPICKLING = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
RUNNING = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}


def name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_fixed(node: ast.expr) -> bool:
    """A literal, a file of db/sql by its literal name, or psycopg's own composition of such."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | bytes)
    if not isinstance(node, ast.Call):
        return False
    if name_of(node.func) in ("sql", "migration"):
        return len(node.args) == 1 and is_fixed_name(node.args[0])
    if name_of(node.func) in ("SQL", "sql.SQL"):
        [text] = node.args
        return is_fixed_name(text) or is_fixed(text)
    composed = isinstance(node.func, ast.Attribute) and node.func.attr == "format"
    return composed and is_fixed(node.func.value) and "SQL" in ast.dump(node.func)  # type: ignore[attr-defined]


def is_fixed_name(node: ast.expr) -> bool:
    """A literal, or a parameter that is nothing but handed on."""
    if isinstance(node, ast.IfExp):
        return is_fixed_name(node.body) and is_fixed_name(node.orelse)
    return isinstance(node, ast.Constant | ast.Name)


def built_sql(tree: ast.AST) -> Iterator[int]:
    """Lines that execute a statement which is not fixed."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in ("execute", "executemany", "copy") and node.args:
            owner = name_of(node.func.value).rpartition(".")[2]
            if owner not in ("copy", "shutil", "Context") and not is_fixed(node.args[0]):
                yield node.lineno


def dangers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            for name in names:
                if name.split(".")[0] in UNPICKLING:
                    yield node.lineno, name
        if isinstance(node, ast.Call):
            if name_of(node.func) in RUNNING:
                yield node.lineno, name_of(node.func)
            for keyword in node.keywords:
                if keyword.arg == "shell" and getattr(keyword.value, "value", None) is not False:
                    yield node.lineno, "shell="


def sources(root: Path) -> Iterator[tuple[Path, ast.AST]]:
    for path in (p for room in ROOMS for p in (root / room).rglob("*.py")):
        yield path.relative_to(root), ast.parse(path.read_text())


def test_sql_is_fixed_and_values_are_parameters(project_root: Path) -> None:
    found = [f"{path}:{line}" for path, tree in sources(project_root) for line in built_sql(tree)]
    assert found == []
    for path in (project_root / "db" / "sql").glob("*.sql"):
        assert "EXECUTE" not in path.read_text().upper().replace("EXECUTE FUNCTION", ""), path


def test_nothing_unpickles_and_nothing_runs_texts(project_root: Path) -> None:
    found = [
        f"{p}:{line} {what}" for p, tree in sources(project_root) for line, what in dangers(tree)
    ]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        'c.execute(f"SELECT {x}")',
        'c.execute("SELECT " + x)',
        'c.execute("SELECT %s" % x)',
        'c.execute("SELECT {}".format(x))',
        "c.execute(x)",
        "cursor.executemany(query, rows)",
        'c.execute(sql("a" + x))',
        "c.execute(sql.SQL(f'{x}'))",
        "c.execute(SQL(x + y).format(z))",
        "c.execute(migration(f'{x}'))",
    ],
)
def test_the_check_finds_planted_sql(planted: str) -> None:
    assert list(built_sql(ast.parse(planted)))


@pytest.mark.parametrize(
    "planted",
    [
        *("import pickle", "from pickle import loads", "import dill as json"),
        *("eval(x)", "os.system(x)", "subprocess.run(x, shell=True)", "yaml.load(x)"),
    ],
)
def test_the_check_finds_planted_dangers(planted: str) -> None:
    assert list(dangers(ast.parse(planted)))
