"""What a hundred corrections do to a systematic mistake: its rate on rows that nobody corrected, before and after a training with them.

    CATALOG_DATA=folder benchmarks/corrections [--cases 3] [--corrections 100] [--wrong 0.8] [--quick]

Half of the distinct texts of ecommerce_text are labelled, the others are the catalogue. A case takes a word that occurs almost only in texts of
one label, and labels most of these texts wrongly, all as the same other label. Then the jobs do what a shop would: `train`, `categorize`, `correct`
with a CSV file in which that many of the catalogue's rows with the word, drawn at random, have their right category, `train --corrections`, and
`categorize` with the new model. A training on the right labels shows what is left if nobody made the mistake. Results are added to
docs/benchmarks/corrections.json (a case that is run again replaces its result); the page next to it shows all of them. --quick is for trying it: few texts, one
case, and the page only on the screen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import deltalake  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from benchmarks.commands import timed_command  # noqa: E402
from benchmarks.data import data_folder, labelled_texts  # noqa: E402
from lib.model.text import TextSettings  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "corrections"
SEED = 1_000
# Of the texts with a word, how many have to be of one label.
OF_ONE_LABEL = 0.9
QUICK = {"texts": 1_600, "cases": 1, "corrections": 20, "epochs": 2}


@dataclass(frozen=True)
class Case:
    """labelled, catalogue: columns text, label (the right one) and has_word; the catalogue has product_id too."""

    word: str
    right: str
    wrong: str
    labelled: pd.DataFrame
    catalogue: pd.DataFrame


@dataclass(frozen=True)
class Options:
    """wrong: the share of the labelled texts with the word that get the wrong label. epochs: of the LSTM and the bag; None for the defaults."""

    corrections: int
    wrong: float
    texts: int | None = None
    epochs: int | None = None


def case_of(number: int, options: Options) -> Case:
    """The two halves of the texts, and a word that enough of them have: in each half at least half as many again as are corrected."""
    random = np.random.default_rng(SEED + number)
    data = labelled_texts(data_folder(), TextSettings())
    chosen = random.permutation(len(data.texts))[: options.texts]
    texts = data.texts.to_pylist()
    rows = pd.DataFrame({"text": [texts[i] for i in chosen], "label": [data.labels[data.label_ids[i]] for i in chosen]})
    words = words_of_one_label(rows, 3 * options.corrections)
    if not words:
        raise SystemExit(
            f"Expected a word in {3 * options.corrections:,} texts of one label, found none; give fewer --corrections."
        )
    word, right = words[number % len(words)]
    wrong = str(random.choice(sorted(set(data.labels) - {right})))
    rows["has_word"] = rows["text"].map(lambda text: word in text.split())
    rows["product_id"] = [f"p{i:06d}" for i in range(len(rows))]
    half = len(rows) // 2
    return Case(word, right, wrong, rows[:half], rows[half:])


def words_of_one_label(rows: pd.DataFrame, least: int) -> list[tuple[str, str]]:
    """Words that occur in at least this many texts, nearly all of one label, and that label; a word for each label in turn, the most frequent first."""
    counts: dict[str, Counter[str]] = {}
    for text, label in zip(rows["text"], rows["label"], strict=True):
        for word in set(text.split()):
            if word.isalpha() and len(word) > 3:
                counts.setdefault(word, Counter())[label] += 1
    found: dict[str, list[tuple[int, str]]] = {}
    for word, by_label in counts.items():
        label, most = by_label.most_common(1)[0]
        if by_label.total() >= least and most >= OF_ONE_LABEL * by_label.total():
            found.setdefault(label, []).append((-by_label.total(), word))
    ranked = {label: [word for _, word in sorted(words)] for label, words in found.items()}
    deepest = max(map(len, ranked.values()), default=0)
    return [(words[i], label) for i in range(deepest) for label, words in sorted(ranked.items()) if i < len(words)]


def judge(number: int, options: Options, folder: Path) -> dict[str, Any]:
    """One case, by the jobs themselves."""
    case = case_of(number, options)
    shop = Shop(folder, options, SEED + number)
    case.catalogue[["product_id", "text"]].to_parquet(folder / "catalogue.parquet", index=False)
    mistaken = case.labelled["has_word"] & (np.random.default_rng(SEED + number).random(len(case.labelled)) < options.wrong)
    labels = case.labelled["label"].where(~mistaken, case.wrong)
    before = shop.categories("mistaken", case.labelled.assign(label=labels))
    asked = case.catalogue[case.catalogue["has_word"] & (case.catalogue["label"] == case.right)]
    said = asked.sample(options.corrections, random_state=SEED + number)
    shop.correct("mistaken", said)
    after = shop.categories("corrected", case.labelled.assign(label=labels), "--corrections", shop.lake("mistaken"))
    right = shop.categories("right", case.labelled)
    rest = asked[~asked["product_id"].isin(said["product_id"])]
    others = case.catalogue[~case.catalogue["has_word"]]
    found = {"mistaken": before, "corrected": after, "right labels": right}
    return {
        **{name: getattr(case, name) for name in ("word", "right", "wrong")},
        "texts": len(case.labelled),
        "labelled_wrongly": int(mistaken.sum()),
        "labelled_with_word": int(case.labelled["has_word"].sum()),
        "corrected": len(said),
        "corrected_were_wrong": int((said["product_id"].map(before) == case.wrong).sum()),
        "judged_with_word": len(rest),
        "judged_others": len(others),
        "mistake": {name: float((rest["product_id"].map(given) == case.wrong).mean()) for name, given in found.items()},
        "others_right": {
            name: float((others["product_id"].map(given) == others["label"]).mean()) for name, given in found.items()
        },
    }


class Shop:
    """The jobs, in a separate folder."""

    def __init__(self, folder: Path, options: Options, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._epochs = ["--epochs", str(options.epochs), "--bag-epochs", str(options.epochs)] if options.epochs else []

    def lake(self, name: str) -> str:
        return str(self._folder / name / "categorized")

    def _run(self, job: str, *words: str) -> None:
        timed_command([str(ROOT / "spark-submit.sh"), job, *words], self._folder)

    def categories(self, name: str, labelled: pd.DataFrame, *more: str) -> Mapping[str, str]:
        """The categories of the catalogue's products by a model that is trained on these texts."""
        labels, models = self._folder / f"{name}.parquet", self._folder / "models"
        labelled[["text", "label"]].to_parquet(labels, index=False)
        fixed = ["--name", name, "--models", str(models), "--no-baselines", "--seed", str(self._seed)]
        self._run("train", "--labels", str(labels), *fixed, *self._epochs, *more)
        source = ["--source", str(self._folder / "catalogue.parquet"), "--text-columns", "text"]
        self._run("categorize", *source, "--target", self.lake(name), "--model", str(models / name))
        rows = deltalake.DeltaTable(self.lake(name)).to_pandas(columns=["product_id", "category"])
        return dict(zip(rows["product_id"], rows["category"], strict=True))

    def correct(self, name: str, said: pd.DataFrame) -> None:
        """What a person has filled in: the right category of these products."""
        file = self._folder / "corrected.csv"
        said.rename(columns={"label": "correct_category"})[["product_id", "text", "correct_category"]].to_csv(file, index=False)
        given = ["--file", str(file), "--text-columns", "text", "--by", "benchmark"]
        self._run("correct", "--target", self.lake(name), *given)


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line for each case, and the means."""
    lines = [
        "# A hundred corrections",
        "",
        "    CATALOG_DATA=folder benchmarks/corrections",
        "",
        "The labels have a systematic mistake: most texts with a word, which belong to one label, are labelled as another one. A model is trained, a",
        "catalogue of other texts is categorized, a person checks some of its rows with the word, drawn at random, and passes their right category",
        "to the job `correct`, and a second model is trained with `--corrections`. The mistake's rate is the share of the rows with the word that",
        "get the wrong label, **among those that nobody has corrected**. For comparison: the rate after a training on the right labels, and how many of the rows without the word are right. Near-duplicates may be",
        "among both the corrected and the judged rows, as they are in a shop.",
        "",
        "| word, its label, labelled as | labelled texts: with the word, of these wrong | rows checked, of these wrong | rows judged | mistake before | after | with right labels | "
        "other rows right: before, after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cases = [one for _, one in sorted(results.items(), key=lambda pair: int(pair[0]))]
    for one in cases:
        mistake, others = one["mistake"], one["others_right"]
        lines.append(
            f"| {one['word']}, {one['right']}, {one['wrong']} | {one['texts']:,}: {one['labelled_with_word']:,}, {one['labelled_wrongly']:,} | "
            f"{one['corrected']}, {one['corrected_were_wrong']} | {one['judged_with_word']:,} | {mistake['mistaken']:.1%} | {mistake['corrected']:.1%} | "
            f"{mistake['right labels']:.1%} | {others['mistaken']:.1%}, {others['corrected']:.1%} |"
        )
    means = {name: np.mean([one["mistake"][name] for one in cases]) for name in ("mistaken", "corrected", "right labels")}
    rates = " | ".join(f"{value:.1%}" for value in means.values())
    return "\n".join([*lines, f"| mean | | | | {rates} | |", ""])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--corrections", type=int, default=100)
    parser.add_argument("--wrong", type=float, default=0.8)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args(arguments)
    cases = QUICK["cases"] if given.quick else given.cases
    options = Options(given.corrections, given.wrong)
    if given.quick:
        options = Options(QUICK["corrections"], given.wrong, QUICK["texts"], QUICK["epochs"])
    file = PAGE.with_suffix(".json")
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() and not given.quick else {}
    for number in range(cases):
        with tempfile.TemporaryDirectory() as folder:
            one = results[str(number)] = judge(number, options, Path(folder))
        before, after = one["mistake"]["mistaken"], one["mistake"]["corrected"]
        print(f"{one['word']}: {before:.1%} before, {after:.1%} after {one['corrected']} corrections", flush=True)
        if not given.quick:
            file.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.with_suffix(".md").write_text(page(results))
    if given.quick:
        print(page(results))


if __name__ == "__main__":
    main(sys.argv[1:])
