"""What formulas come to: the shapes that Gastown ships, each feature by itself, and what is refused, with its line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from tinytown.errors import TinytownError, UsageError
from tinytown_gastown.formulas.cook import cook
from tinytown_gastown.formulas.cooked import Cooked
from tinytown_gastown.formulas.go_template import TemplateError, render
from tinytown_gastown.formulas.library import BUILT_IN, read_file, read_formula
from tinytown_gastown.formulas.run import duration_s

SHAPES = Path(__file__).parent / "shapes"
HEAD = 'formula = "f"\n'


def shape(name: str) -> Cooked:
    return cooked((SHAPES / f"{name}.formula.toml").read_text(), strict=False)


def cooked(text: str, strict: bool = True, **values: str) -> Cooked:
    def find(name: str):  # type: ignore[no-untyped-def]
        return read_file(SHAPES / f"{name}.formula.toml", name).formula

    legs = tuple(values.pop("legs", "").split())
    preset, run = values.pop("preset", ""), values.pop("run", "")
    return cook(
        read_formula(text, "f.formula.toml"), find, given=values, legs=legs, preset=preset, run=run, strict=strict
    )


def edges(result: Cooked) -> dict[str, tuple[str, ...]]:
    return {step.id: step.needs for step in result.steps}


def problem(text: str, **values: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        cooked(text, **values)
    return caught.value


# -- the shapes that are met -----------------------------------------------------------------------------


def test_a_plain_workflow() -> None:
    result = cooked((SHAPES / "shiny.formula.toml").read_text(), feature="undo")
    assert edges(result) == {
        "design": (), "implement": ("design",), "review": ("implement",), "test": ("review",), "submit": ("test",),
    }  # fmt: skip
    first, *_, last = result.steps
    assert first.title == "Design undo"
    assert (
        first.description == "Think about undo, keep {{unknown}} as it is.\n\n## Acceptance\n\nA design is written down"
    )
    assert last.title == "Submit for nobody"
    assert last.description == "Submit for nobody", "a step without a description still says what to do"


def test_a_formula_that_extends_another_and_expands_one_of_its_steps() -> None:
    result = edges(shape("shiny-enterprise"))
    assert list(result)[:3] == ["design", "implement.draft", "implement.refine-1"]
    assert result["implement.draft"] == ("design",)
    assert result["review"] == ("implement.refine-4",)
    assert "implement" not in result
    titles = {step.id: step.title for step in shape("shiny-enterprise").steps}
    assert titles["implement.draft"] == "Draft: Implement {{feature}}"
    texts = {step.id: step.description for step in shape("shiny-enterprise").steps}
    assert texts["implement.draft"] == "First: Write it. Not perfect yet."
    assert texts["implement.refine-4"].endswith("## Acceptance\n\nIt builds"), "the last step is held to it"


def test_an_aspect_around_the_steps_that_it_is_for() -> None:
    result = edges(shape("shiny-secure"))
    assert result["implement-prescan"] == ("design",)
    assert result["implement"] == ("implement-prescan",)
    assert result["implement-postscan"] == ("implement",)
    assert result["review"] == ("implement-postscan",)
    assert result["submit"] == ("submit-prescan",)
    assert result["submit-prescan"] == ("test",)


def test_an_expansion_by_itself_is_put_in_place_of_main() -> None:
    assert next(iter(edges(shape("rule-of-five")))) == "main.draft"


def test_a_gate_of_any_kind_and_a_variable_that_is_required_and_has_a_default() -> None:
    result = cooked((SHAPES / "mol-dance.formula.toml").read_text(), target="joe")
    assert result.values == {"target": "joe", "requester": "deacon"}
    gate = result.steps[1].gate
    assert gate is not None
    assert (gate.type, gate.condition) == ("conditional", "no_response_1")


def test_a_step_with_children_is_done_when_they_are() -> None:
    result = shape("mol-boot")
    assert edges(result) == {
        "daemon": (), "witnesses": ("daemon", "witness-a", "witness-b"), "witness-a": ("daemon",),
        "witness-b": ("daemon",), "verify": ("witnesses",),
    }  # fmt: skip
    assert {step.id: step.parent for step in result.steps if step.parent} == {
        "witness-a": "witnesses", "witness-b": "witnesses",
    }  # fmt: skip


def test_the_legs_of_a_convoy_and_their_synthesis() -> None:
    text = (SHAPES / "code-review.formula.toml").read_text()
    result = cooked(text, pr="12", run="r7")
    assert edges(result) == {"wiring": (), "security": (), "style": (), "synthesis": ("wiring", "security", "style")}
    assert result.steps[0].description == (
        "# code-review: What is not wired\n\nPR #12 \n\nLook for what is not used.\n\nWrite to .reviews/r7/wiring-findings.md"
    )
    assert result.steps[3].description == "Read .reviews/r7/ and write .reviews/r7/summary.md"
    by_files = cooked(text, files="a.py b.py", preset="gate")
    assert "- a.py\n- b.py" in by_files.steps[0].description
    assert edges(by_files)["synthesis"] == ("wiring", "security")
    assert list(edges(cooked(text, branch="x", legs="style"))) == ["style", "synthesis"]


def test_what_is_missing_of_inputs_that_stand_for_each_other_is_said() -> None:
    text = (SHAPES / "code-review.formula.toml").read_text()
    error = problem(text)
    assert error.code == "missing_variables"
    assert "pr or files or branch" in error.message
    assert "a whole number" in problem(text, pr="twelve").message


@pytest.mark.parametrize("disks", [10])
def test_a_chain_of_a_thousand_steps(disks: int) -> None:
    steps = [f'[[steps]]\nid = "move-{n}"\ntitle = "{n}"\n' for n in range(2**disks)]
    steps[1:] = [f'{step}needs = ["move-{n}"]\n' for n, step in enumerate(steps[1:])]
    result = cooked(HEAD + "\n".join(steps))
    assert len(result.steps) == 2**disks
    assert result.steps[-1].needs == (f"move-{2**disks - 2}",)


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.toml")), ids=lambda path: path.name)
def test_our_own_can_be_cooked(path: Path) -> None:
    formula = read_file(path, path.name).formula
    assert path.name == f"{formula.formula}.formula.toml"
    assert cook(formula, lambda _: formula, given={}, strict=False).steps


# -- each feature by itself ------------------------------------------------------------------------------


def test_loops_run_one_pass_after_the_other() -> None:
    text = HEAD + (
        '[vars]\nn = "2"\n[[steps]]\nid = "a"\ntitle = "A"\n[[steps]]\nid = "l"\nneeds = ["a"]\n'
        '[steps.loop]\nrange = "1..2^{n}-2"\nvar = "i"\n'
        '[[steps.loop.body]]\nid = "x"\ntitle = "X {i}"\n[[steps.loop.body]]\nid = "y"\ntitle = "Y {i}"\nneeds = ["x"]\n'
    )
    result = cooked(text)
    assert edges(result) == {
        "a": (), "l.iter1.x": ("a",), "l.iter1.y": ("l.iter1.x",), "l.iter2.x": ("l.iter1.y",), "l.iter2.y": ("l.iter2.x",),
    }  # fmt: skip
    assert [step.title for step in result.steps] == ["A", "X 1", "Y 1", "X 2", "Y 2"]


def test_what_needs_a_loop_needs_its_last_pass() -> None:
    text = HEAD + (
        '[[steps]]\nid = "a"\ntitle = "A"\n[[steps]]\nid = "lp"\nneeds = ["a"]\n[steps.loop]\ncount = {count}\n'
        '[[steps.loop.body]]\nid = "x"\ntitle = "X"\n[[steps.loop.body]]\nid = "y"\ntitle = "Y"\n'
        '[[steps]]\nid = "post"\ntitle = "P"\nneeds = ["lp"]\n'
    )
    assert edges(cooked(text.replace("{count}", "2")))["post"] == ("lp.iter2.x", "lp.iter2.y")
    assert edges(cooked(text.replace("{count}", "0"))) == {"a": (), "post": ("a",)}


@pytest.mark.parametrize("range_", ["1..9^99", "1..__import__('os')", "1..1/0", "x..y", "1..10000000", "((((..1", "1"])
def test_a_loop_that_cannot_be_counted_is_refused(range_: str) -> None:
    text = HEAD + f'[[steps]]\nid = "l"\n[steps.loop]\nrange = "{range_}"\n[[steps.loop.body]]\nid = "x"\ntitle = "X"\n'
    assert "step 'l'" in problem(text).message


@pytest.mark.parametrize(
    ("condition", "there"),
    [
        ("{{on}}", True), ("!{{on}}", False), ("{{off}}", False), ("{{none}}", False), ("!{{none}}", True),
        ("{{word}} == x", True), ("{{word}} != x", False), ("{{word}} == 'x'", True),
    ],
)  # fmt: skip
def test_a_step_is_left_out_when_its_condition_does_not_hold(condition: str, there: bool) -> None:
    text = HEAD + (
        '[vars]\non = true\noff = "false"\nword = "x"\nnone = ""\n[[steps]]\nid = "a"\ntitle = "A"\n'
        f'[[steps]]\nid = "b"\ntitle = "B"\nneeds = ["a"]\ncondition = "{condition}"\n'
        '[[steps]]\nid = "c"\ntitle = "C"\nneeds = ["b"]\n'
    )
    assert edges(cooked(text))["c"] == (("b",) if there else ("a",))


def test_branches_fork_and_join() -> None:
    steps = "".join(f'[[steps]]\nid = "{id_}"\ntitle = "T"\n' for id_ in "abcd")
    text = HEAD + steps + '[[compose.branch]]\nfrom = "a"\nsteps = ["b", "c"]\njoin = "d"\n'
    assert edges(cooked(text)) == {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def test_a_map_expands_every_step_that_its_glob_means() -> None:
    steps = "".join(f'[[steps]]\nid = "x.{id_}"\ntitle = "T"\n' for id_ in "ab")
    text = HEAD + steps + '[[compose.map]]\nselect = "x.*"\nwith = "rule-of-five"\n'
    assert len(cooked(text).steps) == 10


def test_an_expansion_inline_and_advice_of_its_own() -> None:
    text = HEAD + (
        '[[steps]]\nid = "a"\nexpand = "rule-of-five"\n[[steps]]\nid = "b"\ntitle = "B"\nneeds = ["a"]\n'
        '[[advice]]\ntarget = "b"\n[advice.before]\nid = "look"\ntitle = "Look at {step.title}"\n'
    )
    result = edges(cooked(text))
    assert result["b"] == ("b.look",)
    assert result["b.look"] == ("a.refine-4",)


def test_values_are_checked_against_what_variables_declare() -> None:
    text = HEAD + (
        '[vars.mode]\nenum = ["fast", "slow"]\n[vars.v]\npattern = "[0-9]+"\n[vars.on]\ntype = "bool"\n'
        '[[steps]]\nid = "a"\ntitle = "{{mode}}"\n'
    )
    assert cooked(text, mode="fast").steps[0].title == "fast"
    assert "one of fast, slow" in problem(text, mode="x").message
    assert "a match of" in problem(text, v="1a").message
    assert "true or false" in problem(text, on="maybe").message
    assert "no variable 'nope'" in problem(text, nope="1").message


@st.composite
def workflows(draw: st.DrawFn) -> tuple[dict[str, list[str]], list[str]]:
    """Steps that need only earlier ones, and some of them to be expanded."""
    count = draw(st.integers(1, 8))
    needs = {f"s{n}": [f"s{m}" for m in range(n) if draw(st.booleans())] for n in range(count)}
    return needs, draw(st.lists(st.sampled_from(sorted(needs)), unique=True, max_size=3))


@given(workflows())
def test_what_came_before_another_step_still_does_when_steps_are_expanded(
    workflow: tuple[dict[str, list[str]], list[str]],
) -> None:
    needs, targets = workflow
    text = HEAD + "".join(f'[[steps]]\nid = "{id_}"\ntitle = "T"\nneeds = {first}\n' for id_, first in needs.items())
    text += "".join(f'[[compose.expand]]\ntarget = "{id_}"\nwith = "rule-of-five"\n' for id_ in targets)
    result = edges(cooked(text.replace("'", '"')))

    def all_before(id_: str) -> set[str]:
        return {one for need in result[id_] for one in ({need} | all_before(need))}

    for id_, first in needs.items():
        begin = f"{id_}.draft" if id_ in targets else id_
        for need in first:
            assert (f"{need}.refine-4" if need in targets else need) in all_before(begin)
    assert len(result) == len(needs) + 4 * len(targets)


# -- what is refused, and where --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "output"),
    [
        ('formula = "f"\nsteeps = 1\n', 2, "unknown key 'steeps'"),
        ('formula = "f"\n[[steps]]\nid = "a"\ntitle = "A"\n\n[[steps]]\nid = "b"\ntitel = "B"\n', 8, "key 'titel' of 'b'"),
        ('formula = "f"\ndescription = """\nx = 1\n[[steps]]\n"""\n[[steps]]\nid = "a"\nfoo = 1\n', 8, "'foo' of 'a'"),
        ('formula = "f"\n[[steps]]\nid = 1\n', 3, "Expected `str`"),
        ('formula = "f"\n[[steps]]\ntitle = "x"\n', 2, "`id`"),
        ('formula = "f"\n[compose]\n[[compose.expand]]\ntarget = "a"\nwith = "b"\nin = 2\n', 6, "unknown key 'in'"),
        ('formula = "f"\n[vars.x]\nrequird = true\n', 3, "unknown key 'requird'"),
        ('formula = "f"\n[[steps]]\nid = "a"\ntitle = "A"\ngate = { type = "human", after = 3 }\n', 5, "unknown key 'after'"),
        ('formula = "f\n', None, "expected TOML"),
        ('formula = "../f"\n', 1, "expected a name"),
        ('formula = "f"\ntype = "patrol"\n', 2, "Invalid enum value"),
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused_by_name_and_line(text: str, line: int | None, output: str) -> None:
    error = problem(text)
    assert output in error.message
    assert error.code == "bad_formula"
    assert error.fields["line"] == line, error.message
    if line:
        assert f"f.formula.toml, line {line}: " in error.message


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('[[steps]]\nid = "a"\ntitle = "A"\nneeds = ["z"]\n', "needs 'z', which is not a step"),
        ('[[steps]]\nid = "a"\ntitle = "A"\n[[steps]]\nid = "a"\ntitle = "B"\n', "two steps have the id 'a'"),
        ('[[steps]]\nid = "a"\ntitle = "A"\nneeds = ["b"]\n[[steps]]\nid = "b"\ntitle = "B"\nneeds = ["a"]\n', "form a cycle"),
        ('[[steps]]\nid = "a b"\ntitle = "A"\n', "as the id of a step"),
        ('[[steps]]\nid = "a"\n', "has no title"),
        ('[[steps]]\nid = "a"\ntitle = "A"\npriority = 9\n', "priority of 0 to 4"),
        ('[[steps]]\nid = "a"\ntitle = "A"\nwaits_for = "any-children"\n', "all-children"),
        ('[[steps]]\nid = "a"\ntitle = "A"\n[steps.on_complete]\nfor_each = "output.x"\n', "on_complete"),
        ('[[steps]]\nid = "a"\ntitle = "A"\ncondition = "os.exit"\n', "invalid condition"),
        ('[[steps]]\nid = "a"\ntitle = "A"\n[[compose.hooks]]\ntrigger = "label:x"\n', "compose.hooks"),
        ('[[steps]]\nid = "a"\ntitle = "A"\n[[compose.expand]]\ntarget = "z"\nwith = "rule-of-five"\n', "no step 'z'"),
        ('extends = ["shiny-secure"]\n[[compose.branch]]\nfrom = "a"\nsteps = ["b"]\njoin = "c"\n', "a branch names 'a'"),
        ('[[advice]]\ntarget = "*"\n', "no steps of its own"),
        ('[[legs]]\nid = "a"\ndescription = "{{printf .x}}"\n', "is not supported"),
        ('[[legs]]\nid = "a"\ndescription = "{{if .x}}"\n', "without {{end}}"),
    ],
)  # fmt: skip
def test_what_cannot_be_cooked_is_said(body: str, text: str) -> None:
    error = problem(HEAD + body, **({"feature": "x"} if "extends" in body else {}))
    assert text in error.message
    assert error.code == "bad_formula"


def test_a_formula_that_extends_itself_is_refused() -> None:
    formula = read_formula('formula = "a"\nextends = ["a"]\n', "a.formula.toml")
    with pytest.raises(UsageError, match="extends itself: a -> a"):
        cook(formula, lambda _: formula, given={})


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_text_at_all_makes_more_than_an_error(text: str) -> None:
    for called in ("f.formula.toml", "f.formula.json"):
        with contextlib.suppress(TinytownError):
            read_formula(text, called)


@given(st.text(alphabet="{}. abifelsndrg-", max_size=60))
def test_no_template_makes_more_than_an_error(text: str) -> None:
    with contextlib.suppress(TemplateError):
        assert isinstance(render(text, {"a": ["b"]}), str)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{if .a}}x{{else if .b}}y{{else}}z{{end}}", "y"),
        ("{{if not .a}}no{{end}}", "no"),
        ("a  {{- .b -}}  c", "a1c"),
        ("{{range .l}}[{{.}}{{$.b}}]{{else}}none{{end}}", "[x1][y1]"),
        ("{{range .a}}x{{else}}none{{end}}", "none"),
        ("{{with .m}}{{.n}}{{end}}", "2"),
        ("{{/* nothing */}}x", "x"),
        ("{{.nope.nope}}", ""),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert render(template, {"a": "", "b": "1", "l": ["x", "y"], "m": {"n": "2"}}) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1h30m", 5400), ("2d", 172800), (1_800_000_000_000, 1800)]
)
def test_durations(text: str | int, seconds: float) -> None:
    assert duration_s(text) == seconds
