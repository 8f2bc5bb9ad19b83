"""Figures as a table: absolute, and as ratios to the direct call of the same run."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from scenarios import LEAVE_AFTER, PAUSE_MS, Figures, Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Row(NamedTuple):
    """One line: a figure, what to multiply it by, and how many decimals it deserves. A row without a figure is a heading."""

    title: str
    figure: str = ""
    scale: float = 1.0
    decimals: int = 0


NOISE = "noise.others"
MS, US, KIB, MIB = 1e3, 1e6, 1 / 1024, 1 / 1024**2


def rows(sizes: Sizes) -> list[Row]:
    """Return the lines of the table."""
    out = []
    for n in sizes.json:
        out += [
            Row(f"JSON, {n} connection{'s' if n > 1 else ''}"),
            Row("requests/s", f"json_{n}.rate"),
            Row("latency p50, ms", f"json_{n}.p50", MS, 3),
            Row("latency p99, ms", f"json_{n}.p99", MS, 3),
            Row("added p50, ms", f"json_{n}.added", MS, 3),
            Row("gateway CPU, µs/request", f"json_{n}.cpu", US),
        ]
    return [
        *out,
        Row(f"SSE burst, {sizes.burst} streams of {sizes.burst_chunks} chunks back to back"),
        Row("chunks/s", "burst.rate"),
        Row("gateway CPU, µs/chunk", "burst.cpu", US, 1),
        Row(f"Paced, {sizes.paced} streams of {sizes.paced_chunks} chunks {PAUSE_MS} ms apart"),
        Row(f"stream of {sizes.paced_chunks * PAUSE_MS / 1000:.1f} s takes p50, s", "paced.took_p50", 1, 3),
        Row("takes p99, s", "paced.took_p99", 1, 3),
        Row("gap p99, ms", "paced.gap_p99", MS, 1),
        Row("gateway CPU, µs/chunk", "paced.cpu", US, 1),
        Row(f"Cancel, {sizes.cancel} clients leave after {LEAVE_AFTER} chunks"),
        Row("streams closed upstream", "cancel.closed"),
        Row("closed after p50, ms", "cancel.p50", MS, 2),
        Row("closed after max, ms", "cancel.max", MS, 2),
        Row(f"Idle, {sizes.idle} silent streams"),
        Row("memory per stream, KiB", "idle.stream", KIB, 1),
        Row("all closed upstream after, ms", "idle.closed", MS),
        Row("Process"),
        Row("cold start to first 200 (best), s", "start.seconds", 1, 2),
        Row("memory when idle, MiB", "start.memory", MIB, 1),
        Row("memory after all of it, MiB", "end.memory", MIB, 1),
        Row("Noise"),
        Row("CPU others used, cores (most)", NOISE, 1, 2),
    ]


def median(rounds: Sequence[Mapping[str, Figures]]) -> dict[str, Figures]:
    """Return the median of each figure over the rounds, and what follows from them: added latency, and the most noise."""
    out: dict[str, Figures] = {}
    for name in rounds[0]:
        seen = [figures[name] for figures in rounds if name in figures]
        keys = dict.fromkeys(key for figures in seen for key in figures)
        out[name] = {key: statistics.median([figures[key] for figures in seen if key in figures]) for key in keys}
        others = [value for figures in seen for key, value in figures.items() if key.endswith(".others")]
        if others:
            out[name][NOISE] = max(others)
    direct = out.get("direct", {})
    for name, figures in out.items():
        for key in [key for key in figures if key.startswith("json_") and key.endswith(".p50")]:
            if name != "direct" and key in direct:
                figures[key.replace(".p50", ".added")] = figures[key] - direct[key]
    return out


def table(figures: Mapping[str, Figures], sizes: Sizes) -> str:
    """Return the table."""
    direct = figures.get("direct")
    head = f"{'':36}" + "".join(
        f"{name:>14}" + (f"{'× direct':>10}" if direct is not None and name != "direct" else "") for name in figures
    )
    lines = [head]
    heading = ""
    for row in rows(sizes):
        if not row.figure:
            heading = row.title
            continue
        if not any(row.figure in seen for seen in figures.values()):
            continue
        if heading:
            lines += ["", heading]
            heading = ""
        line = f"  {row.title:34}"
        for name, seen in figures.items():
            value = seen.get(row.figure)
            line += f"{'–' if value is None else f'{value * row.scale:,.{row.decimals}f}':>14}"
            if direct is not None and name != "direct":
                line += f"{_ratio(row, value, direct.get(row.figure)):>10}"
        lines.append(line)
    return "\n".join(lines)


def _ratio(row: Row, value: float | None, direct: float | None) -> str:
    if value is None or not direct or row.figure == NOISE:
        return ""
    return f"{value / direct:.3g}"
