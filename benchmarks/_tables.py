"""Mean and spread over seeds, differences paired by seed, and the tables that show them."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks._runs import Result, Results, Scores

METRICS = ("val/map", "val/map_50", "test/map", "test/map_50")
_UNKNOWN = "-"


@dataclass(frozen=True)
class Spread:
    """Values of one metric over seeds.

    Attributes:
        mean: Their mean.
        spread: Their sample standard deviation (n - 1 below the fraction); None for a single value.
        n: How many they are.
    """

    mean: float
    spread: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


Summary = dict[str, Spread]  # by metric


def summarise(scores: Iterable[Scores], metrics: Sequence[str] = METRICS) -> Summary:
    """Summarise the scores of several seeds; empty without any."""
    each = list(scores)
    return {name: Spread.of([of_seed[name] for of_seed in each]) for name in metrics} if each else {}


def differences(
    run: Mapping[int, Scores], baseline: Mapping[int, Scores], metrics: Sequence[str] = METRICS
) -> list[Scores]:
    """Subtract, seed by seed, the baseline's scores; seeds that only one of the two has are left out."""
    common = sorted(run.keys() & baseline.keys())
    return [{name: run[seed][name] - baseline[seed][name] for name in metrics} for seed in common]


def report(results: Results, metrics: Sequence[str] = METRICS) -> dict[str, object]:
    """Return every number of the tables, and each run's own, in plain types."""
    return {
        name: {
            "scores": _plain(summarise(_scores(runs).values(), metrics)),
            "difference": _plain(_compared(runs, _baseline(results), metrics)),
            "runs": {str(seed): asdict(run) for seed, run in runs.items()},
        }
        for name, runs in results.items()
    }


def markdown(results: Results, metrics: Sequence[str] = METRICS) -> str:
    """Draw the tables: scores, differences to the baseline, and the baseline scored in two ways where it was.

    Args:
        results: By variant and seed; the first variant is the baseline.
        metrics: The columns.
    """
    baseline_name, baseline = next(iter(results)), _baseline(results)
    scored = [
        (name, summarise(_scores(runs).values(), metrics), [_minutes(runs.values())]) for name, runs in results.items()
    ]
    parts = ["Mean ± sample standard deviation over seeds:", _table(scored, metrics, ["minutes"])]
    changed = [(name, runs) for name, runs in results.items() if name != baseline_name]
    if changed:
        paired = [(name, _compared(runs, baseline, metrics), ()) for name, runs in changed]
        parts += [f"Difference to `{baseline_name}`, paired by seed:", _table(paired, metrics, signed=True)]
    by_score = _by_token_score(baseline.values())
    if by_score:
        parts += [
            f"`{baseline_name}`, the same checkpoints scored with each `token_score`:",
            _table([(name, summarise(scores, metrics), []) for name, scores in by_score.items()], metrics),
        ]
    return "\n\n".join(parts) + "\n"


def _compared(runs: Mapping[int, Result], baseline: Mapping[int, Result], metrics: Sequence[str]) -> Summary:
    return summarise(differences(_scores(runs), _scores(baseline), metrics), metrics)


def _baseline(results: Results) -> dict[int, Result]:
    return next(iter(results.values()))


def _scores(runs: Mapping[int, Result]) -> dict[int, Scores]:
    return {seed: run.scores for seed, run in runs.items()}


def _by_token_score(runs: Iterable[Result]) -> dict[str, list[Scores]]:
    """Scores of every run, by token score."""
    found: dict[str, list[Scores]] = {}
    for run in runs:
        for how, scores in run.by_token_score.items():
            found.setdefault(how, []).append(scores)
    return found


def _minutes(runs: Iterable[Result]) -> str:
    times = [run.seconds / 60 for run in runs]
    return f"{statistics.fmean(times):.1f}" if times else _UNKNOWN


def _table(
    rows: Iterable[tuple[str, Summary, Sequence[str]]],
    metrics: Sequence[str],
    further: Sequence[str] = (),
    *,
    signed: bool = False,
) -> str:
    """Draw rows of (name, summary, cells of the further columns)."""
    head = ["run", "seeds", *metrics, *further]
    lines = [head, ["---"] * len(head)]
    for name, summary, cells in rows:
        seeds = next(iter(summary.values())).n if summary else 0
        values = [_cell(summary.get(metric), signed=signed) for metric in metrics]
        lines.append([name, str(seeds), *values, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Spread | None, *, signed: bool) -> str:
    if value is None:
        return _UNKNOWN
    mean = _decimals(value.mean, signed=signed)
    return mean if value.spread is None else f"{mean} ± {_decimals(value.spread)}"


def _decimals(number: float, *, signed: bool = False) -> str:
    """Three decimals without the zero before the point, as scores are written; -0.0001 is no negative zero."""
    text = f"{number:+z.3f}" if signed else f"{number:z.3f}"
    return text.replace("0.", ".", 1) if abs(number) < 1 else text


def _plain(summary: Summary) -> dict[str, object]:
    return {name: asdict(value) for name, value in summary.items()}
