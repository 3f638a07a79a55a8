"""Categories for a frame at hand, in a notebook or a script, as the nightly run would assign them.

    import catalog_categorizer as cc

    model = cc.load_bundle("models/ecommerce")
    products = cc.categorize(frame, model, ["title", "description"])
    cc.evaluate(labelled, model, text_columns="text", label_column="label")

`frame` is of pandas, Polars or Spark, and the result is of the same kind. docs/notebook.md describes the rest.
"""

from catalog_categorizer.evaluation import Evaluation
from catalog_categorizer.frames import categorize, evaluate
from catalog_categorizer.model import Model, load_bundle
from lib.errors import BundleError, CategorizerError, InputError

__all__ = ["BundleError", "CategorizerError", "Evaluation", "InputError", "Model", "categorize", "evaluate", "load_bundle"]
