"""`assetq simulate`: how fresh a plan keeps assets, and how fresh the next plan would."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from redis import Redis
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli.load import load_of
from cli.options import NumberRange, WholeRange, as_json
from cli.session import load_settings
from cli.show.output import print_json, print_table
from local.sandbox import worst_window
from local.servers.valkey import ValkeyServer
from local.simulation import Result, Scenario, Simulation
from local.verdict import Load, Verdict, judge, sentence
from market.tiers import TIERS, Tier
from queueing import Policy, Priority, PriorityQueue, QuotaLimiter

SNAPSHOT_TICKERS = 250
BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDE = 118


@dataclass(frozen=True)
class Run:
    """One simulated plan."""

    title: str
    policy: Policy
    result: Result


@click.command()
@click.option("--assets", type=WholeRange(1, 20_000), help="Imagine this number of them.")
@click.option(
    "--file", type=click.Path(path_type=Path), help="A catalogue, as `symbols import` reads it."
)
@click.option("--tier", type=click.Choice([t.value for t in Tier]), help="Default: POLYGON_TIER.")
@click.option("--hours", default=24.0, show_default=True, type=NumberRange(0.1, 24 * 31))
@click.option("--batch-minutes", type=WholeRange(1, 1440), help="Default: the settings'.")
@click.option(
    "--tolerance", default=5.0, show_default=True, help="Seconds a batch may start after its slot."
)
@click.option(
    "--endless", is_flag=True, help="Refreshed assets ask again at once: the queue never empties."
)
@as_json
def simulate(
    assets: int | None,
    file: Path | None,
    tier: str | None,
    hours: float,
    batch_minutes: int | None,
    tolerance: float,
    endless: bool,
    json_: bool,
) -> None:
    """Answer "when should I upgrade?" for the tracked assets, this plan and the next ones.

    First a sentence, and what the calls of a day are used for. Then freshness by priority: the
    queue's own scripts with a simulated clock on a server of its own. A plan with a limit refreshes
    one asset a call there, one without up to 250. (On the provider's real free plan a price is of
    the last completed day, however often it is fetched: read the ages as "checked".)
    """
    if assets and file:
        raise click.UsageError("Give --assets or --file, not both.")
    settings = load_settings()
    if batch_minutes:
        settings = settings.model_copy(update={"batch_interval_minutes": batch_minutes})
    load = load_of(settings, assets, file)
    tiers = list(Tier)[list(Tier).index(Tier(tier or settings.polygon_tier)) :]
    verdicts = [judge(load, one) for one in tiers]
    if not json_:
        _show_verdict(load, verdicts)
    scenario = Scenario(
        assets=len(load.tickers),
        hours=hours,
        critical=load.bands.get(Priority.CRITICAL, 0),
        bands=load.bands,
        batch_minutes=settings.batch_interval_minutes,
        endless=endless,
    )
    with _server() as redis:
        runs = [_run(redis, t, scenario, int(tolerance * 1000), quiet=json_) for t in tiers[:2]]
    if json_:
        print_json(_document(load, verdicts, runs))
    else:
        _show(runs, load)


def _show_verdict(load: Load, verdicts: Sequence[Verdict]) -> None:
    click.echo(f"{load.source}: {sentence(load, verdicts[0], verdicts[1:])}\n")
    print_table(
        ["plan", "prices", ">calls a day", ">for prices", ">for bars", ">spare", ">history"],
        [
            (
                one.tier.value,
                "of yesterday" if one.end_of_day else "live",
                _number(one.possible),
                f"{one.prices:,}",
                f"{one.bars:,}",
                _number(one.spare),
                "never" if one.history_h is None else _duration(one.history_h * 3600),
            )
            for one in verdicts
        ],
        empty="",
    )
    click.echo()


def _number(calls: int | None) -> str:
    return "no limit" if calls is None else f"{calls:,}"


@contextmanager
def _server() -> Iterator[Redis]:
    with tempfile.TemporaryDirectory(prefix="assetq-simulate-") as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        try:
            with Redis.from_url(server.url, decode_responses=True) as redis:
                redis.config_set("appendonly", "no")
                yield redis
        finally:
            server.kill()


def _run(redis: Redis, tier: Tier, scenario: Scenario, tolerance_ms: int, *, quiet: bool) -> Run:
    redis.flushall()
    limit = TIERS[tier].calls_per_window
    policy = Policy(limit=limit, tolerance_ms=tolerance_ms)
    tickers = 1 if limit else SNAPSHOT_TICKERS
    scenario = Scenario(**{**scenario.__dict__, "tickers_per_call": tickers})
    queue = PriorityQueue(redis, policy, max_size=scenario.assets)
    simulation = Simulation(queue, QuotaLimiter(redis, policy), scenario)
    assets = "1 asset" if tickers == 1 else f"{tickers} assets"
    title = f"{tier}: {f'{limit} calls a minute' if limit else 'no limit'}, {assets} a call"
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(f"simulating {tier}", total=1.0)
        result = simulation.run(lambda share: bar.update(task, completed=share))
    return Run(title, policy, result)


def _show(runs: list[Run], load: Load) -> None:
    console = Console()
    for run in runs:
        result = run.result
        table = Table(
            title=f"{run.title}; {result.scenario.assets} assets, {result.scenario.hours:g} h",
            title_justify="left",
        )
        for name in ("priority", "assets", "target", "mean age", "worst age", "longest wait"):
            table.add_column(name, justify="left" if name == "priority" else "right")
        width = 48 if console.width >= _WIDE else 8
        table.add_column("mean age over the time" if width > 8 else "its run")
        top = 1.5 * max(result.mean_age_s(p) for p in result.bands)
        for priority, band in result.bands.items():
            if band.assets:
                table.add_row(
                    priority.name,
                    str(band.assets),
                    _duration(load.targets_s.get(priority, 0)),
                    _duration(result.mean_age_s(priority)),
                    _duration(band.worst_age_s),
                    _duration(band.longest_wait_s),
                    _picture(band.ages, top, width),
                )
        console.print(table)
        console.print(_summary(run), end="\n\n", highlight=False)


def _summary(run: Run) -> str:
    result = run.result
    starts = result.critical_starts_ms
    lines = [
        f"{result.calls} calls; batches began {max(starts, default=0) / 1000:.1f} s "
        f"after their slot at the latest (mean {sum(starts) / max(1, len(starts)) / 1000:.1f} s)."
    ]
    if result.utilisation is not None and result.idle_slot_share is not None:
        lines.append(
            f"{result.utilisation:.1%} of the possible calls; idle slot-seconds "
            f"{result.idle_slot_share:.3%}; at most "
            f"{worst_window(result.arrivals_ms, run.policy.window_ms)} arrivals in any window."
        )
    return "\n".join(lines)


def _document(load: Load, verdicts: Sequence[Verdict], runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "assets": load.source,
        "verdict": sentence(load, verdicts[0], verdicts[1:]),
        "plans": [verdict.as_dict() for verdict in verdicts],
        "simulated": [_as_json(run, load) for run in runs],
    }


def _as_json(run: Run, load: Load) -> dict[str, Any]:
    result = run.result
    return {
        "plan": run.title,
        "hours": result.scenario.hours,
        "calls": result.calls,
        "utilisation": result.utilisation,
        "idle_slot_share": result.idle_slot_share,
        "worst_window": worst_window(result.arrivals_ms, run.policy.window_ms),
        "batches": result.batches,
        "latest_batch_start_ms": max(result.critical_starts_ms, default=0),
        "by_priority": {
            priority.name: {
                "assets": band.assets,
                "target_s": load.targets_s.get(priority),
                "refreshes": band.refreshes,
                "mean_age_s": round(result.mean_age_s(priority), 1),
                "worst_age_s": round(band.worst_age_s, 1),
                "longest_wait_s": round(band.longest_wait_s, 1),
            }
            for priority, band in result.bands.items()
            if band.assets
        },
    }


def _picture(values: list[float], top: float, width: int) -> str:
    """At most `width` blocks, each as high as the mean age in its part of the time."""
    if not values or top <= 0:
        return ""
    step = max(1, -(-len(values) // width))
    parts = [values[at : at + step] for at in range(0, len(values), step)]
    means = [sum(part) / len(part) for part in parts]
    return "".join(BLOCKS[min(8, max(1, round(value / top * 8)))] for value in means)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
