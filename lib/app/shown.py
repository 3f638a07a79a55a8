"""What the page draws itself: tables whose cells hold bars, as HTML that reads in light and dark, on a phone and by a screen reader.

All colours are those of the text around them or stand out against both white and black, so they suit whatever theme the browser has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from string import punctuation
from typing import Any

from lib.app.model import Answer, Level
from lib.app.paths import sure_only_of
from lib.model.explanation import WORDS_OF_A_LEVEL, WordEffect
from lib.reports.html import Cell, table, text
from schemas.statuses import CATEGORIZED_STATUS, REVIEW

STYLE = """<style>
.stMainBlockContainer { padding-top: 4.5rem; padding-bottom: 3rem; }
[data-testid="stCaptionContainer"] * { color: inherit !important; } [data-testid="stCaptionContainer"] { color: inherit !important; opacity: .8; }
.cc bdi { overflow-wrap: anywhere; } .cc p { margin: .3rem 0; }
.cc-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.cc table, .scroll table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .95rem; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid #2f7fd0; }
.scroll caption { text-align: left; opacity: .8; padding-bottom: .3rem; caption-side: top; color: inherit; }
.scroll th, .scroll td { text-align: left; padding: .3rem .7rem .3rem 0; vertical-align: top; max-width: 26rem; min-width: 4.5rem;
  border: 0; border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); font-weight: 400; color: inherit; }
.scroll thead th { font-weight: 600; }
.scroll td.number, .scroll th.number { text-align: right; white-space: nowrap; min-width: 0; }
.scroll td.wide { width: 45%; min-width: 7rem; } .scroll tbody th { min-width: 6rem; } .scroll td.label { min-width: 11rem; }
@media (max-width: 640px) { .scroll td.wide { width: 25%; min-width: 4rem; } }
.cc-track { position: relative; display: block; height: .8rem; margin-top: .35rem; border-radius: 3px;
  background: color-mix(in srgb, currentColor 12%, transparent); }
.cc-fill { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: #2f7fd0; }
.cc-fill.against { background: #d0661f; } .cc-fill.other { background: #7b8794; }
.cc-mark { position: absolute; top: -.25rem; bottom: -.25rem; width: 2px; background: currentColor; }
.cc-answer { font-size: 1.6rem; font-weight: 600; line-height: 1.3; }
.cc-pill { display: inline-block; padding: 0 .6rem; border: 1px solid currentColor; border-radius: 1rem; font-size: .9rem; font-weight: 400; }
.cc-text { white-space: pre-wrap; max-height: 16rem; overflow-y: auto; }
.cc-soft { opacity: .8; font-size: .92rem; }
.cc-fault { border-left: 4px solid #d0342c; padding: .6rem .9rem; background: color-mix(in srgb, #d0342c 9%, transparent); }
.stButton button p { white-space: normal !important; overflow-wrap: anywhere; text-align: left; }
textarea, .stTextInput input { unicode-bidi: plaintext; }
.cc code { background: color-mix(in srgb, currentColor 9%, transparent); color: inherit; padding: 0 .25rem; border-radius: 4px; overflow-wrap: anywhere; }
kbd { border: 1px solid currentColor; border-radius: 4px; padding: 0 .35rem; font-size: .9em; background: transparent; color: inherit; }
</style>"""

BARS = 10
WORDS = 15
# The length of a text in a table, in characters.
SHORT = 160
MOST_OF_A_TEXT = 10_000


def own(value: object, most: int | None = None) -> str:
    """Somebody's text as HTML that is read in its own direction, and does not move anything around it."""
    said = str(value)
    cut = said if most is None or len(said) <= most else f"{said[: most - 1]}…"
    return f'<bdi dir="auto">{_plain(cut)}</bdi>'


def _plain(value: str) -> str:
    """Like `text`, which shows what is invisible, except for what joins or separates letters in Persian, Hindi or an emoji, which is no trick."""
    for joiner in ("\u200c", "\u200d", "\ufe0f"):
        if joiner in value:
            return joiner.join(map(_plain, value.split(joiner)))
    return text(value)


def markdown(value: str) -> str:
    """Somebody's text for parts that Streamlit draws only from Markdown, such as the label of a field: plain text, in one line."""
    return "".join(f"\\{one}" if one in punctuation else one for one in " ".join(value.split()))


def product_id(value: object) -> str:
    return f"<code>{own(value, SHORT)}</code>"


def fault(sentence: str) -> str:
    """A sentence that may contain anybody's text, shown as an error: Streamlit's own box would read it as Markdown."""
    return block(f'<p class="cc-fault" role="alert">{own(sentence)}</p>')


def block(*parts: str) -> str:
    return f'<div class="cc">{"".join(parts)}</div>'


def _track(*parts: str) -> str:
    return f'<span class="cc-track" aria-hidden="true">{"".join(parts)}</span>'


def _fill(share: float, kind: str = "", start: float = 0.0) -> str:
    width = 100 * min(max(share, 0.004), 1)
    return f'<span class="cc-fill {kind}" style="left: {100 * start:.1f}%; width: {width:.1f}%"></span>'


def headline(answer: Answer, asked: str) -> str:
    """Category, status and how near the threshold is. asked: the text, whose beginning a screen reader reads out."""
    of = f'<p class="cc-hidden">Answer to {own(asked, 80)}</p>'
    category = "No category" if answer.category is None else own(answer.category)
    said = f'<p class="cc-answer">{category} <span class="cc-pill">{text(answer.status)}</span></p>'
    near = _nearness(answer) if answer.category is not None else ()
    return block('<div role="status">', of, said, "</div>", *near)


def _nearness(answer: Answer) -> Iterable[str]:
    apart = abs(answer.confidence - answer.threshold)
    if answer.status == REVIEW and answer.confidence < answer.threshold:
        said = f"{apart:.3f} below the threshold of {answer.threshold:.3f}: a person should look"
    elif answer.status == CATEGORIZED_STATUS and not answer.threshold:
        said = "no threshold: nothing of this category goes to review"
    else:
        said = f"{apart:.3f} above the threshold of {answer.threshold:.3f}, below which it would go to review"
    mark = f'<span class="cc-mark" style="left: calc({100 * min(answer.threshold, 1):.1f}% - 1px)"></span>'
    kind = "other" if answer.status == REVIEW else ""
    yield f"<p>Confidence {answer.confidence:.3f}, {said}.</p>"
    yield _track(_fill(answer.confidence, kind), mark)


def probabilities(answer: Answer) -> str:
    """The most probable labels as bars; the others are counted."""
    shown = answer.scores[:BARS]
    rows = [[Cell(own(label)), Cell(_track(_fill(score)), "wide"), Cell(f"{score:.3f}", "number")] for label, score in shown]
    rest = answer.scores[BARS:]
    more = (
        f'<p class="cc-soft">and {len(rest):,} more labels, {sum(score for _, score in rest):.3f} together</p>' if rest else ""
    )
    head = ("label", Cell('<span class="cc-hidden">as a bar</span>', "wide"), Cell("probability", "number"))
    return block(table("How probable each label is", head, rows), more)


def levels(found: Sequence[Level]) -> str:
    """The path level by level; nothing where labels are not paths."""
    if not found:
        return ""
    rows = [
        [
            Cell(own(level.name) + _moved(level)),
            Cell(f"{level.confidence:.3f}", "number"),
            Cell(f"{level.threshold:.3f}", "number"),
            "yes" if level.is_published else "not sure enough",
        ]
        for level in found
    ]
    head = ("level", Cell("confidence", "number"), Cell("threshold", "number"), "published")
    return block(table("Levels of the path, the top first", head, rows))


def _moved(level: Level) -> str:
    """A line below a level with the words that moved it most."""
    said = ", ".join(f"{word.word} {word.effect:+.2f}" for word in level.moved[:WORDS_OF_A_LEVEL])
    return f'<br><span class="cc-soft">moved most by {own(said, 200)}</span>' if said else ""


def words(answer: Answer) -> str:
    """The words that decided, the strongest first."""
    why = answer.why
    if why is None:
        return ""
    most = max((abs(word.effect) for word in why.words), default=1.0) or 1.0
    rows = [_word(word, most) for word in why.words[:WORDS]]
    head = ("word", "against | for", Cell("log-odds", "number"), Cell("without it", "number"))
    parts = [table(f"Words that speak for {why.category[:300]}, or against", head, rows)]
    remarks = []
    if why.unknown:
        shown = ", ".join(why.unknown[:WORDS])
        more = f" and {len(why.unknown) - WORDS:,} more" if len(why.unknown) > WORDS else ""
        remarks.append(f"Unknown to the model: {own(shown, 600)}{more}")
    if why.tokens > why.tokens_read:
        remarks.append(f"Read: the first {why.tokens_read:,} of {why.tokens:,} words")
    if why.unfamiliarity is not None:
        remarks.append(
            f"Unfamiliarity {why.unfamiliarity:.3f}: the share of texts like the labelled ones that are less unlike these"
        )
    return block(*parts, *[f'<p class="cc-soft">{remark}</p>' for remark in remarks])


def _word(word: WordEffect, most: float) -> list[object]:
    """A bar to the right for a word that supports the category, to the left for one that counts against it."""
    half = 0.5 * min(abs(word.effect) / most, 1)
    fill = _fill(half, "", 0.5) if word.effect >= 0 else _fill(half, "against", 0.5 - half)
    times = f" × {word.count}" if word.count > 1 else ""
    return [
        Cell(own(word.word, 60) + times),
        Cell(_track(fill, '<span class="cc-mark" style="left: calc(50% - 1px)"></span>'), "wide"),
        Cell(f"{word.effect:+.2f}", "number"),
        Cell(f"{word.probability_without:.3f}", "number"),
    ]


def products(rows: Sequence[Mapping[str, Any]], carried: Sequence[str], caption: str, named: str = "product_id") -> str:
    """Rows of the table as people read them. named: the heading over the ids."""
    head = (named, *carried, "category", Cell("confidence", "number"), "runner-up", "status", "reason")
    return block(table(caption, head, [_product(row, carried) for row in rows]))


def _product(row: Mapping[str, Any], carried: Sequence[str]) -> list[object]:
    corrected = row.get("corrected_by")
    instead = (
        f'<br><span class="cc-soft">{own(corrected)}; model: {own(row["model_category"] or "none")}</span>' if corrected else ""
    )
    confidence = "" if row["confidence"] is None else f"{row['confidence']:.3f}"
    return [
        Cell(own(row["product_id"], SHORT)),
        *[Cell(own(row[name] or "", SHORT)) for name in carried],
        Cell(own(row["category"] or "none") + (instead or _sure_only(row)), "label"),
        Cell(confidence, "number"),
        Cell(own(row["runner_up"] or ""), "label"),
        row["status"],
        row["reason"] or "",
    ]


def _sure_only(row: Mapping[str, Any]) -> str:
    """A line below a category that is a path and not published down to its end."""
    said = sure_only_of(row["category"], row.get("category_path"), row.get("published_path"))
    return f'<br><span class="cc-soft">{own(said)}</span>' if said else ""


def texts(values: Iterable[tuple[str, str | None]]) -> str:
    """A product's texts, each under its column's name."""
    parts = [
        f'<p class="cc-soft">{text(name)}</p><div class="cc-text" dir="auto" tabindex="0" role="region" aria-label="{text(name)}">'
        f"{'<br>'.join(map(_plain, (value or '–')[:MOST_OF_A_TEXT].splitlines()))}</div>"
        for name, value in values
    ]
    return block(*parts)
