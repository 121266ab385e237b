import pytest
import yaml

from gdino_lightning.cli import main
from gdino_lightning.cli.phrase_check import check_phrases, load_strict
from gdino_lightning.errors import ConfigError, PromptError
from gdino_lightning.prompt import class_phrases

SAMPLE = "configs/sample.yaml"


@pytest.mark.parametrize(
    ("phrases", "named"),
    [
        ("{a: yes, b: cup}", "YAML reads True as bool, not as text; put quotes round it"),
        ("{747: plane}", "YAML reads 747 as int"),
        ("{a: 747}", "YAML reads 747 as int"),
        ("[cup, no]", "YAML reads False as bool"),
        ("{a: [x]}", "as list"),
    ],
)
def test_what_yaml_reads_as_something_else_than_text_is_refused_as_a_flag_and_in_a_file(phrases, named, tmp_path):
    with pytest.raises(PromptError, match=named):
        check_phrases(["fit", f"--model.phrases={phrases}"])
    with pytest.raises(PromptError, match=named):
        check_phrases(["fit", "--model.phrases", phrases])
    file = tmp_path / "x.yaml"
    file.write_text(f"model:\n  phrases: {phrases}\n")
    with pytest.raises(PromptError, match=rf"x\.yaml: model\.phrases: .*{named}"):
        check_phrases(["fit", "--config", str(file)])


def test_the_phrases_of_a_reference_are_looked_at_too(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("model: {phrases: [cup]}\nreference:\n  phrases: {no: cup}\n")
    with pytest.raises(PromptError, match=r"x\.yaml: reference\.phrases: YAML reads False as bool"):
        check_phrases(["fit", f"--config={file}"])
    with pytest.raises(ConfigError, match=r"--reference\.phrases line 1: cup is given twice"):
        check_phrases(["--reference.phrases={cup: a, cup: b}"])


def test_a_class_that_is_named_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--model\.phrases line 1: cup is given twice"):
        check_phrases(["--model.phrases={cup: a, cup: b}"])
    file = tmp_path / "x.yaml"
    file.write_text("model:\n  phrases:\n    cup: a\n    cup: b\n")
    with pytest.raises(ConfigError, match=r"x\.yaml line 4: cup is given twice"):
        check_phrases([f"--config={file}"])


@pytest.mark.parametrize("phrases", ["{a: , b: null, 'no': 'yes', c: St. Bernard}", "[cup, 'no. 1 part', '747']"])
def test_phrases_that_pass_are_those_that_a_prompt_takes(phrases):
    check_phrases([f"--model.phrases={phrases}", "--config", SAMPLE, "--config", "absent.yaml"])
    assert next(iter(class_phrases(yaml.safe_load(phrases)))) in phrases


def test_keys_that_are_no_text_and_files_that_are_no_utf8_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--model\.phrases line 1: found unhashable key"):
        check_phrases(["--model.phrases={[a]: cup}"])
    file = tmp_path / "x.yaml"
    file.write_bytes("model: {phrases: [Café]}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"x\.yaml: is not UTF-8"):
        check_phrases(["--config", str(file)])


def test_the_command_line_says_so_in_one_line(capsys):
    code = main(
        ["fit", "--config", SAMPLE, "--model.phrases={with_mask: yes, without_mask: b, mask_weared_incorrect: c}"]
    )
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert error == "gdino: --model.phrases: YAML reads True as bool, not as text; put quotes round it"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [*a]", "more than 30,000 values, with its aliases written out"),
        (
            BOMB + "".join(f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n" for m, n in ("bc", "cd", "de", "ef")),
            "more than 30,000 values",
        ),
        ("[" * 50_000, "line 1: too many brackets or lists in one another"),
        ("- " * 101, "too many brackets or lists in one another"),
        ("2020-13-45", "month must be in 1..12"),
        ("!!python/object/apply:os.mkdir [made]", "could not determine a constructor for the tag"),
    ],
)
def test_yaml_that_is_a_trap_is_refused(text, says):
    with pytest.raises(ConfigError, match=rf"^x\.yaml.*{says}"):
        load_strict(text, "x.yaml")


def test_aliases_and_merged_keys_are_read():
    assert load_strict("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}", "x.yaml") == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 1, "e": 2},
    }


def test_a_file_that_is_no_configuration_is_refused(tmp_path):
    file = tmp_path / "x.yaml"
    for text, says in (("just a text", "is no configuration"), ("#" * 1_000_001, "1,000,001 bytes, at most 1,000,000")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=rf"x\.yaml: {says}"):
            check_phrases(["fit", "--config", str(file)])
