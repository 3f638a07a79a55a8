"""The parts that pages are made of: HTML that is self-contained, needs no network, and is readable in light, dark and print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from unicodedata import category

from lib.scoring.report import printable

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --page: #ffffff; --line: #d9dee6; --panel: #f4f6f9;
  --bar: #2f6fb3; --bar-2: #d98a1f; --bar-3: #8a94a3; --good: #1d7a46; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b6; --page: #12161c; --line: #313a46; --panel: #1b212a;
  --bar: #6aa9e9; --bar-2: #e8ac55; --bar-3: #77828f; --good: #63c48d; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.2rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); } a { color: var(--bar); overflow-wrap: anywhere; } code { overflow-wrap: anywhere; }
.status { display: inline-block; white-space: nowrap; padding: 0 .6rem; border: 1px solid currentColor; border-radius: 1rem; font-size: .9rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.panel { border: 1px solid var(--bad); border-radius: .4rem; background: var(--panel); padding: .6rem 1rem; margin: 1rem 0; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid var(--bar); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: break-word; max-width: 24rem; }
th { font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; } td.wide { width: 34%; min-width: 8rem; }
.bar { display: block; height: .8rem; margin-top: .32rem; background: var(--bar); border-radius: 2px; }
.bar.over { background: var(--bad); } .bar.second { background: var(--bar-2); }
svg { display: block; max-width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.trends { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .9rem; }
details { margin: .6rem 0; } summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { max-width: none; font-size: 11px; } .scroll { overflow: visible; } h2 { break-after: avoid; } tr, figure { break-inside: avoid; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page. title: plain text; body: HTML."""
    parts = "\n".join(body)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{parts}
</main>
</body>
</html>
"""


def text(value: object) -> str:
    """Plain text as HTML; invisible characters are escaped, so that no product's title moves anything."""
    return escape(printable("".join(" " if category(one) == "Zs" else one for one in str(value))))


@dataclass(frozen=True)
class Cell:
    """A cell of a table: HTML, and how it is aligned."""

    html: str
    kind: str = ""


def number(value: float | None, form: str = ",") -> Cell:
    return Cell("" if value is None else text(format(value, form)), "number")


def bar(share: float, kind: str = "") -> Cell:
    """A bar as long as a share of at most one; the number has its own cell."""
    width = 100 * min(max(share, 0.0), 1.0)
    # Anything above zero shows, however little it is.
    width = max(width, 0.3) if width else 0.0
    return Cell(f'<span class="bar {kind}" style="width: {width:.1f}%" aria-hidden="true"></span>', "wide")


def table(caption: str, header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls on its own where a screen is narrow. What is not a Cell is plain text; the first cell of a row names it."""
    heads = "".join(f'<th scope="col" class="{cell.kind}">{cell.html}</th>' for cell in map(_cell, header))
    body = "\n".join(f"<tr>{_row(list(map(_cell, row)))}</tr>" for row in rows)
    return (
        f'<div class="scroll" role="region" aria-label="{text(caption)}" tabindex="0">\n<table>\n<caption>{text(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _cell(value: object) -> Cell:
    return value if isinstance(value, Cell) else Cell(text(value))


def _row(cells: Sequence[Cell]) -> str:
    first, rest = cells[0], cells[1:]
    others = "".join(f'<td class="{cell.kind}">{cell.html}</td>' for cell in rest)
    return f'<th scope="row" class="{first.kind}">{first.html}</th>{others}'


def terms(pairs: Iterable[tuple[str, object]]) -> str:
    items = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs)
    return f"<dl>{items}</dl>"


def histogram(groups: Mapping[str, Sequence[int]], said: str) -> str:
    """Bars from 0 to 1, one group on top of another. said: what the picture shows, for those who do not see it."""
    width, height, left = 640, 180, 8
    bins = len(next(iter(groups.values())))
    most = max(map(sum, zip(*groups.values(), strict=True))) or 1
    step, drawn = (width - 2 * left) / bins, []
    colours = ("var(--bar)", "var(--bar-2)", "var(--bar-3)")
    for i in range(bins):
        top = float(height)
        for counts, colour in zip(groups.values(), colours, strict=False):
            tall = (height - 10) * counts[i] / most
            top -= tall
            drawn.append(
                f'<rect x="{left + i * step:.1f}" y="{top:.1f}" width="{step - 2:.1f}" height="{tall:.1f}" fill="{colour}"/>'
            )
    for i in range(0, 11, 2):
        anchor = {0: "start", 10: "end"}.get(i, "middle")
        x = left + (width - 2 * left) * i / 10
        drawn.append(f'<text x="{x:.0f}" y="{height + 16}" text-anchor="{anchor}">{i / 10:.1f}</text>')
    return f'<svg viewBox="0 0 {width} {height + 20}" role="img" aria-label="{text(said)}">{"".join(drawn)}</svg>'


def trend(name: str, values: Sequence[float | None], form: str) -> str:
    """A line over the runs, oldest first, with the newest value; runs without a value are skipped."""
    known = [(i, value) for i, value in enumerate(values) if value is not None]
    if not known:
        return ""
    low, high = min(value for _, value in known), max(value for _, value in known)
    spread, wide = (high - low) or 1.0, max(len(values) - 1, 1)
    points = [(4 + 192 * i / wide, 44 - 38 * (value - low) / spread) for i, value in known]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    said = (
        f"{name}: {known[-1][1]:{form}}, between {low:{form}} and {high:{form}} over {len(known)} run{'s' * (len(known) > 1)}"
    )
    return (
        f'<figure><svg viewBox="0 0 200 50" role="img" aria-label="{text(said)}"><polyline points="{line}" fill="none" '
        f'stroke="var(--bar)" stroke-width="2"/><circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="var(--bar)"/></svg>'
        f"<figcaption>{text(said)}</figcaption></figure>"
    )


def reliability(points: Sequence[tuple[float, float, int]], said: str) -> str:
    """Accuracy over confidence, with the diagonal on which both are the same. points: confidence, accuracy, and texts."""
    size, left = 240, 34
    most = max((rows for _, _, rows in points), default=1) or 1

    def at(confidence: float, accuracy: float) -> tuple[float, float]:
        return left + size * confidence, 6 + size * (1 - accuracy)

    drawn = [f'<rect x="{left}" y="6" width="{size}" height="{size}" fill="none" stroke="var(--line)"/>']
    drawn.append(f'<line x1="{left}" y1="{6 + size}" x2="{left + size}" y2="6" stroke="var(--bar-3)" stroke-dasharray="4 4"/>')
    for confidence, accuracy, rows in points:
        x, y = at(confidence, accuracy)
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 6 * (rows / most) ** 0.5:.1f}" fill="var(--bar)" fill-opacity="0.75"/>'
        )
    for share in (0.0, 0.5, 1.0):
        x, y = at(share, share)
        drawn.append(f'<text x="{x:.0f}" y="{size + 22}" text-anchor="middle">{share:.1f}</text>')
        drawn.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{share:.1f}</text>')
    # Its own size: a square is no easier to read when it fills the screen.
    width, height = size + left + 14, size + 28
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{text(said)}">{"".join(drawn)}</svg>'


def lines(series: Mapping[str, Sequence[float]], said: str) -> str:
    """A line for each series, over the same steps from the first to the last."""
    width, height, left = 640, 170, 52
    values = [value for one in series.values() for value in one]
    low, high = min(values), max(values)
    spread, steps = (high - low) or 1.0, max(max(map(len, series.values())) - 1, 1)
    drawn = []
    for value in (low, high):
        y = 10 + (height - 20) * (1 - (value - low) / spread)
        drawn.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.3f}</text>')
        drawn.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width}" y2="{y:.1f}" stroke="var(--line)"/>')
    for i, (one, colour) in enumerate(zip(series.items(), ("var(--bar)", "var(--bar-2)", "var(--bar-3)"), strict=False)):
        name, points = one
        placed = [
            (left + (width - left - 4) * step / steps, 10 + (height - 20) * (1 - (value - low) / spread))
            for step, value in enumerate(points)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<rect x="{left + 110 * i}" y="{height + 4}" width="10" height="10" fill="{colour}"/>')
        drawn.append(f'<text x="{left + 14 + 110 * i}" y="{height + 13}">{text(name)}</text>')
    return f'<svg viewBox="0 0 {width} {height + 20}" role="img" aria-label="{text(said)}">{"".join(drawn)}</svg>'
