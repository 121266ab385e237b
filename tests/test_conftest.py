"""On CI a test that is skipped without leave fails the session."""

import pytest

MARKERS = """
[pytest]
markers =
    gpu: a
    hub: b
    shared: c
    slow: d
"""
# Hypothesis imports itself anew in every inner session, which takes a second
PLUGINS = ("-p", "skip_guard", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the given test file in a session of its own, with CI set to a value or not at all."""

    def run_(source: str, ci: str | None = "true") -> pytest.RunResult:
        monkeypatch.delenv("CI", raising=False)
        if ci is not None:
            monkeypatch.setenv("CI", ci)
        pytester.makeini(MARKERS)
        pytester.makepyfile(test_it="import pytest\n" + source)
        return pytester.runpytest_inprocess(*PLUGINS)

    return run_


SKIPPED = """
@pytest.mark.skipif(True, reason="no reason")
def test_left_out(): pass

def test_done(): pass
"""


def test_a_skip_without_leave_fails_and_is_named(run):
    result = run(SKIPPED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["*skipped on CI without one of the markers gpu, hub, shared*", "test_it.py::test_left_out"]
    )
    assert "test_it.py::test_done" not in result.stdout.str()


@pytest.mark.parametrize("ci", [None, ""])
def test_elsewhere_a_skip_is_a_skip(run, ci):
    result = run(SKIPPED, ci)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("marker", ["gpu", "hub", "shared"])
def test_what_ci_does_not_have_may_be_missing(run, marker):
    result = run(SKIPPED.replace("@pytest", f"@pytest.mark.{marker}\n@pytest", 1))
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize(
    "source",
    [
        SKIPPED.replace("@pytest", "@pytest.mark.slow\n@pytest", 1),
        "def test_it(): pytest.skip('in the middle')",
        "@pytest.fixture\ndef tool(): pytest.skip('in a fixture')\n\ndef test_it(tool): pass",
        "pytest.skip('the whole module', allow_module_level=True)",
        "pytest.importorskip('no_such_module')",
    ],
    ids=["slow", "inside", "fixture", "module", "import"],
)
def test_every_other_way_to_skip_fails(run, source):
    assert run(source).ret == pytest.ExitCode.TESTS_FAILED


def test_an_expected_failure_has_run(run):
    result = run("@pytest.mark.xfail(strict=True)\ndef test_it(): assert False")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(xfailed=1)


def test_other_outcomes_keep_their_exit_codes(run):
    assert run("def test_it(): pass").ret == pytest.ExitCode.OK
    assert run("def test_it(): assert False").ret == pytest.ExitCode.TESTS_FAILED
    assert run("x = 1").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_this_session_has_the_guard(pytestconfig, monkeypatch):
    monkeypatch.setenv("CI", "true")
    guard = pytestconfig.pluginmanager.get_plugin("skip_guard")
    before = pytestconfig.pluginmanager.get_plugins()
    guard.pytest_configure(pytestconfig)
    (added,) = pytestconfig.pluginmanager.get_plugins() - before
    pytestconfig.pluginmanager.unregister(added)
    assert type(added).__name__ == "SkipGuard"
