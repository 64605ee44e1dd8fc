"""Hostile files are refused with place and reason, and nothing in them ever runs. `benchmarks` tells how quickly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from batchmill import ManifestError
from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.formats import import_files, is_foreign, read_options

PY = "import sympy as sym\nx1, k = sym.symbols('x1 k')\nx = [[x1]]\np = [[k]]\nh = [x1]\n"
M = "syms x1 k\nx = [x1];\np = [k];\nh = [x1];\n"
JL = "ode = @ODEmodel(\n  x1'(t) = {},\n  y(t) = x1(t)\n)\n"
SBML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n{}<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" '
    'version="1">\n<model id="m">\n{}</model></sbml>\n'
)
MATH = '<math xmlns="http://www.w3.org/1998/Math/MathML">{}</math>'
RULE = (
    '<listOfParameters><parameter id="x" constant="false" value="1"/></listOfParameters>\n'
    '<listOfRules>\n<rateRule variable="x">' + MATH + "</rateRule></listOfRules>"
)
CANARY = "CANARY"
XXE = f'<!DOCTYPE r [<!ENTITY e SYSTEM "file://{CANARY}">]>\n'
BOMB = (
    "<!DOCTYPE b [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {c} '{f'&{b};' * 10}'>" for b, c in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>\n"
)


def py(line: str) -> str:
    return PY + line + "\n"


# fmt: off

HOSTILE = [
    # Python
    ("call.py", py("import os\nos.system('touch CANARY')"), r":6:1: `import os` is not part of a model"),
    ("dunder.py", py("f = [[__import__('os').system('touch CANARY')]]"), r":6:7: `__import__\(...\).system` is not a"),
    ("open.py", py("open('CANARY', 'w')"), r":6:1: `open\(...\)` is not part of a model"),
    ("exec.py", py("f = [[exec('1')]]"), r":6:12: a str stands where a number is expected"),
    ("sympify.py", py("f = [[sym.sympify('__import__(\"os\").system(\"touch CANARY\")')]]"), r":6:19: a str stands"),
    ("subclass.py", py("f = [[().__class__.__base__.__subclasses__()]]"), r":6:7: .* is not a function of sympy"),
    ("parse.py", py("f = [[sym.parsing.sympy_parser.parse_expr('1')]]"), r":6:7: .* is not a function"),
    ("lambda.py", py("f = [[(lambda: x1)()]]"), r":6:7: "),
    ("def.py", py("def f(): pass"), r":6:1: `def` is not part of a model"),
    ("class.py", py("class f: pass"), r":6:1: `class`"),
    ("loop.py", py("while True: pass"), r":6:1: `while`"),
    ("comprehension.py", py("f = [[x1] for _ in range(10**9)]"), r":6:5: `listcomp`"),
    ("walrus.py", py("f = [[(y := x1)]]"), r":6:8: `namedexpr`"),
    ("fstring.py", py("f = [[f'{x1}']]"), r":6:7: `joinedstr`"),
    ("repeat.py", py("f = [[x1]] * 10**9"), r":6:5: a whole number up to 1,000 is expected here"),
    ("zeros.py", py("f = sym.zeros(1000, 1000)"), r":6:5: this makes over 1,000 elements"),
    ("lists.py", py("f = [x1]\n" + "f = [f, f]\n" * 60), r":66:1: a list here holds over 10,000 things"),
    ("starred.py", py("f = [x1]\n" + "f = [*f, *f]\n" * 60), r":2\d:\d+: the lists of this file hold over 1,000,000"),
    ("levels.py", py("f = [x1]\n" + "f = [f]\n" * 10_000 + "f = [f, f]"), r":10007:1: a list here holds over 10,000"),
    ("itself.py", py("f = [x1, x1]\nf[0] = f"), r":7:1: a list stands where"),
    ("append.py", py("f = [x1, x1]\nf.append(f)"), r":7:1: a list stands where"),
    ("slice.py", py("f = [x1]\nf[0:10**9] = x1"), r":7:3: `slice` is not part of a model"),
    ("beyond.py", py("f = [x1]\nf[1] = x1"), r":7:1: there is no such element among 1"),
    ("insert.py", py("f = [x1]\nf.insert(0, x1)"), r":7:1: `f.insert\(...\)` is not part of a model"),
    ("exponent.py", py("f = [[x1*10**10**10]]"), r": (an exponent|a number) here (is over|has over)"),
    ("literal.py", py("f = [[" + "9" * 5000 + "]]"), r"(too long|Exceeds the limit)"),
    ("float.py", py("f = [[x1*1e999]]"), r":6:10: this number is too long or too large"),
    ("tower.py", py("a = 2**1000\n" + "a = a*a\n" * 60 + "f = [[a*x1]]"), r"has over 4096 bits"),
    ("shared.py", py("a = x1\n" + "a = a*a + a\n" * 60 + "f = [[a]]"), r":1?\d*:\d+: .*(grows to over|nested deeper)"),
    ("nested.py", py("f = [[" + "(" * 5000 + "x1" + ")" * 5000 + "]]"), r":6:\d+: nested deeper than 64 levels"),
    ("signs.py", py("f = [[" + "-" * 100_000 + "x1]]"), r"(too long|nested)"),
    ("powers.py", py("f = [[" + "x1**" * 3000 + "2]]"), r"(too long|nested|exponent)"),
    ("chain.py", py("f = [[" + "+".join(["x1"] * 200_000) + "]]"), r"(too long|nested|grows)"),
    ("attributes.py", py("f = [[x1" + ".a" * 50_000 + "]]"), r"(too long|is not part of a model)"),
    ("null.py", PY + "\0", r":6:1: a control or invisible character, U\+0000"),
    ("bidi.py", py("f = [[x1]] # \u202e"), r":6:14: a control or invisible character, U\+202E"),
    ("symbol.py", "import sympy as sym\na = sym.Symbol('x; import os')\n", r":2:16: .* cannot be a name"),
    ("odd.py", "import sympy as sym\na = sym.Symbol('\u0445')\n", r":2:16: .* cannot be a name"),
    ("range.py", "import sympy as sym\na = sym.symbols('x:999999')\n", r":2:17: .* makes over 1,000 symbols"),
    ("twice.py", "import sympy as sym\na, b = sym.symbols('k k')\nx1 = sym.Symbol('x1')\nx = [[x1]]\n"
     "p = [[a], [b]]\nh = [x1]\nf = [[a*x1]]\n", r":5:12: the symbol `k` is already one of the parameters"),
    ("uneven.py", py("f = [[x1], [x1]]"), r":6:1: 1 states but 2 equations"),
    ("latin.py", PY.encode() + b"# \xe9\n", r":6: this is not UTF-8"),
    ("huge.py", b"#" * 5_000_000, r"at most 4,000,000 bytes"),
    # MATLAB
    ("system.m", M + "system('touch CANARY');\n", r":5:1: `system` is not part of a model"),
    ("shell.m", M + "!touch CANARY\n", r":5:1: `!` is not part of a model"),
    ("eval.m", M + "f = [eval('delete(''CANARY'')')];\n", r":5:"),
    ("str2sym.m", M + "f = [str2sym('x1')];\n", r":5:14: "),
    ("handle.m", M + "f = [@(x) x];\n", r":5:6: `@` stands where"),
    ("for.m", M + "for i = 1:10, f = 1; end\n", r":5:1: `for` is not part of a model"),
    ("zeros.m", M + "f = zeros(1e5, 1e5);\n", r":5:5: `zeros` takes one or two whole numbers"),
    ("memory.m", M + "".join(f"a{i}=zeros(1000,1);\n" for i in range(1500)), r":1005:\d+: the vectors of this"),
    ("lists.m", M + "f = [x1];\n" + "f = [f f];\n" * 60, r":65:1: a list here holds over 10,000 things"),
    ("index.m", M + "f = [x1]; f(7) = 1;\n", r":5:11: `f` has no such element"),
    ("exponent.m", M + "f = [x1*10^(10^10)];\n", r":5:\d+: "),
    ("deep.m", M + "f = " + "(" * 3000 + "x1" + ")" * 3000 + ";\n", r":5:\d+: nested deeper than 64 levels"),
    ("brackets.m", M + "f = " + "[" * 3000 + "x1" + "]" * 3000 + ";\n", r":5:\d+: nested deeper than 64 levels"),
    ("open.m", M + "f = [x1;\n", r":5:5: this bracket is never closed"),
    ("odd.m", M + "f = [x1*\u03b1];\n", r":5:9: unexpected character U\+03B1"),
    ("twice.m", M + "w = x1; f = x1;\n", r":5:1: the symbol `x1` is already one of the states"),
    ("clear.m", M + "clear(system('touch CANARY'))\n", r":5:1: "),
    # Julia
    ("run.jl", JL.format("-x1(t)") + "run(`touch CANARY`)\n", r":5:1: only `@ODEmodel\(...\)` is read"),
    ("set.jl", JL.format("-a*x1(t)") + "ode = set_parameter_values(ode, Dict(a => 1))\n", r":5:1: only `@ODEmodel"),
    ("hidden.jl", JL.format("-x1(t)") + "println(assess_identifiability(ode)); rm(\"CANARY\")\n", r":5:39: only"),
    ("argument.jl", JL.format("-x1(t)") + "println(assess_identifiability(run(`touch CANARY`)))\n", r":5:1: only"),
    ("inside.jl", JL.format("run(`touch CANARY`)*x1(t)"), r":2:16: .* stands where a name, a number"),
    ("interpolation.jl", JL.format("$(rm(\"CANARY\"))"), r":2:12: `\$` stands where"),
    ("time.jl", JL.format("-x1(t)*t"), r":2:19: time stands in an equation"),
    ("discrete.jl", "@DDSmodel(x(t+1) = x(t), y(t) = x(t))\n", r"there is no `@ODEmodel\(...\)` here"),
    ("deep.jl", JL.format("(" * 3000 + "x1(t)" + ")" * 3000), r":2:\d+: nested deeper than 64 levels"),
    ("exponent.jl", JL.format("x1(t)^99999"), r":2:17: an exponent here is over 1000"),
    ("odd.jl", JL.format("-x1(t)*\u65e5"), r":2:19: .* cannot be a name"),
    ("twice.jl", JL.format("-x1(t), x1'(t) = x1(t)"), r":2:20: `x1` has two equations"),
    ("function.jl", JL.format("sin(cos(gamma_inc(x1(t))))"), r":2:20: `gamma_inc` is not supported here"),
    # SBML
    ("bomb.xml", SBML.format(BOMB, "").replace("<model", "<model name='&i;'"), r":2:\d+: a DOCTYPE or"),
    ("external.xml", SBML.format(XXE, "<notes>&e;</notes>"), r":2:\d+: a DOCTYPE or"),
    ("cut.xml", SBML.format("", "")[:-8], r":\d+:\d+: this is not XML"),
    ("deep.xml", SBML.format("", "<a>" * 50_000), r":4:\d+: nested deeper than 128 levels"),
    ("math.xml", SBML.format("", RULE.format("<apply><sin/>" * 5000 + "<ci>x</ci>" + "</apply>" * 5000)), r"nested"),
    ("encoding.xml", '<?xml version="1.0" encoding="UTF-16"?><sbml/>', r":1:31: the encoding `UTF-16` is not read"),
    ("piecewise.xml", SBML.format("", RULE.format(
        "<piecewise><piece><cn>1</cn><true/></piece></piecewise>")), r":6:\d+: `piecewise` is not supported"),
    ("delay.xml", SBML.format("", RULE.format(
        '<apply><csymbol encoding="text" definitionURL="http://www.sbml.org/sbml/symbols/delay">d</csymbol>'
        "<ci>x</ci><cn>1</cn></apply>")), r":6:\d+: `delay` is not supported in a formula"),
    ("floor.xml", SBML.format("", RULE.format("<apply><floor/><ci>x</ci></apply>")), r"`floor.*` is not supported"),
    ("algebraic.xml", SBML.format("", RULE.format("<ci>x</ci>").replace(
        "rateRule variable=\"x\"", "algebraicRule").replace("/rateRule", "/algebraicRule")),
     r":6:\d+: algebraic rules are not supported"),
    ("event.xml", SBML.format("", '<listOfEvents>\n<event id="e" useValuesFromTriggerTime="true"><trigger '
        'initialValue="true" persistent="true">' + MATH.format("<true/>") + "</trigger></event></listOfEvents>"),
        r":5:\d+: events are not .* \(`e`\)"),
    ("nothing.xml", SBML.format("", ""), r"nothing in this model changes in time"),
    # Antimony
    ("import.ant", 'import "CANARY"\nmodel a\n x1\' = -k*x1;\nend\n', r":1:1: imports are not followed"),
    ("event.ant", "model a\n x1' = -k*x1; x1 = 1; k = 1;\n at x1 > 2: x1 = 1;\nend\n", r"events are not supported"),
    ("deep.ant", "model a\n x1' = " + "(" * 5000 + "1" + ")" * 5000 + ";\nend\n", r":2:\d+: nested deeper"),
    ("signs.ant", "model a\n x1' = " + "-" * 90_000 + "1;\nend\n", r":2:8: these signs in a row mean nothing"),
    ("garbage.ant", "model a\n x1' = = 3;\nend\n", r":2:1: Antimony: "),
]
# fmt: on


@pytest.fixture
def no_execution(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Whatever could run a command, import a model or write a file fails the test."""
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"executed: {arguments}")

    for module, names in ((os, ("system", "popen", "execv", "fork")), (subprocess, ("Popen", "run"))):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    for name in ("eval", "exec", "compile"):
        kept = getattr(__builtins__, name, None) or __builtins__[name]  # type: ignore[index]
        monkeypatch.setattr(f"builtins.{name}", _only_trees(kept))

    def check() -> None:
        assert not (tmp_path / CANARY).exists()

    return check


def _only_trees(kept: Callable[..., object]) -> Callable[..., object]:
    """Compiling to a syntax tree is reading; anything else would be executing a text."""

    def guarded(source: object, *arguments: object, **named: object) -> object:
        tree = 0x400  # ast.PyCF_ONLY_AST
        if kept.__name__ == "compile" and int(named.get("flags", (*arguments, 0, 0, 0)[2])) & tree:  # type: ignore[call-overload]
            return kept(source, *arguments, **named)
        assert CANARY not in str(source)
        assert "sympy" not in str(source)
        return kept(source, *arguments, **named)

    return guarded


@pytest.mark.parametrize(("name", "text", "message"), HOSTILE, ids=[name for name, _, _ in HOSTILE])
def test_a_hostile_file_is_refused_with_its_place(
    name: str, text: str | bytes, message: str, tmp_path: Path, no_execution: Callable[[], None]
) -> None:
    if name.endswith((".xml", ".ant")):
        pytest.importorskip("libsbml")
        pytest.importorskip("antimony")
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ManifestError, match=message) as refusal:
        find_model(str(path))
    assert name in refusal.value.message
    assert len(refusal.value.message) < 1000
    no_execution()


def test_options_files_execute_nothing_either(tmp_path: Path, no_execution: Callable[[], None]) -> None:
    path = tmp_path / "options.py"
    path.write_text("nnzDerU = [0]\nmaxLietime = __import__('os').system('touch CANARY')\n")
    with pytest.raises(ManifestError, match=r":2:14: "):
        read_options(str(path))
    no_execution()


@pytest.fixture
def problem(tmp_path: Path) -> Callable[..., str]:
    """A PEtab problem with some of its files replaced."""
    pytest.importorskip("libsbml")
    sample = Path(__file__).parent / "samples" / "petab"
    folder = tmp_path / "problem"
    folder.mkdir()
    for file in sample.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())

    def changed(file: str, old: str, new: str) -> str:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        return str(folder / "sir.yaml")

    return changed


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.xml", "sub/../../secret.xml", "file:///etc/passwd", "link.xml"]
)
def test_petab_files_stay_in_their_folder(name: str, problem: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("<sbml/>")
    (tmp_path / "problem" / "link.xml").symlink_to(tmp_path / "secret.xml")
    path = problem("sir.yaml", "[model.xml]", f'["{name}"]')
    with pytest.raises(ManifestError, match=r"leads out of the problem's folder|is no file name"):
        find_model(path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("observables.tsv", "I^1", "I^99999", r"observables.tsv:2:1: .*an exponent here is over 1000"),
        ("observables.tsv", "I^1", "nothing", r"observables.tsv:2:1: the observable's `nothing` is neither"),
        ("observables.tsv", "I^1", "__import__('os')", r"observables.tsv:2:1: .*unexpected character"),
        ("observables.tsv", "observableId", "observable", r"observables.tsv:1:1: the column `observableId` is missing"),
        ("parameters.tsv", "\t1\t0\n", "\tone\t0\n", r"parameters.tsv:5:1: `one` is not a number"),
        (
            "measurements.tsv",
            "scaling\n",
            "scaling;scaling\n",
            r"measurements.tsv:2:1: .*1 observable parameters, and 2",
        ),
        ("sir.yaml", "format_version: 1", "format_version: 7", r"`format_version` 7 is not read"),
        ("sir.yaml", "  - sbml_files: [model.xml]\n   ", "  -", r"the problem names no model file"),
    ],
)
def test_wrong_petab_tables_are_refused_at_their_line(
    file: str, old: str, new: str, message: str, problem: Callable[..., str]
) -> None:
    with pytest.raises(ManifestError, match=message):
        find_model(problem(file, old, new))


def test_a_models_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "two.m"
    path.write_text(M + "f = [-k*x1]; save('../../a/b', 'x'); save('..', 'x');\n")
    done = import_files([str(path)], str(tmp_path / "out"))
    assert not done.refused
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["_.yaml", "b.yaml"] or all(
        file.parent == tmp_path / "out" for file in (tmp_path / "out").iterdir()
    )


def test_our_own_yaml_is_not_taken_for_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("states: [x]\n")
    assert not is_foreign(str(path))
    path.write_text("format_version: 2.0.0\n")
    assert is_foreign(str(path))
