"""The module that MLflow loads a registered bundle with. The model in the registry is the bundle's files and the name of this module: no code and no
pickled object travels with it, so this package has to be installed where it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from catalog_categorizer.arguments import names_of, speaking_python
from catalog_categorizer.frames import categorize
from catalog_categorizer.model import Model, load_bundle
from lib.errors import InputError
from lib.model.fields import columns_and_markers

if TYPE_CHECKING:
    import pandas


class Predictor:
    """A bundle with the interface that MLflow requires."""

    def __init__(self, model: Model, text_columns: Sequence[str]) -> None:
        self.model, self.text_columns = model, list(text_columns)

    def predict(self, frame: pandas.DataFrame, params: Mapping[str, Any] | None = None) -> pandas.DataFrame:
        """The columns that `categorize` adds, in the order of the rows and with their index.

        Args:
            frame: with the text columns, all or some; its other columns are left alone.
            params: MLflow passes some to every model; none are used here.
        Raises:
            InputError: none of the text columns, or one that holds something other than texts.
        """
        named = [one for one in self.text_columns if self._column(one) in frame.columns]
        if not named:
            wanted = ", ".join(map(self._column, self.text_columns))
            raise InputError(
                f"Expected one of the text columns {wanted} in the frame, found {', '.join(map(str, frame.columns))[:300] or 'no columns'}; "
                "rename its columns."
            )
        # One column may be named twice, for two fields.
        texts = frame[list(dict.fromkeys(map(self._column, named)))]
        return categorize(texts, self.model, named).drop(columns=list(texts.columns))

    def _column(self, named: str) -> str:
        """The column that one of text_columns names, which may be FIELD=COLUMN."""
        return columns_and_markers([named], self.model.fields)[0][0]


@speaking_python
def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Predictor:
    """A verified bundle, ready to predict; MLflow requires this name.

    Args:
        path: the bundle's folder inside the model.
        model_config: text_columns, as `register --text-columns` was given; load_model(…, model_config=…) may name fewer of them. Others
            do not arrive here: MLflow passes on only the columns of the signature.
    """
    model = load_bundle(path)
    columns = (model_config or {}).get("text_columns") or model.fields or ("text",)
    return Predictor(model, names_of(columns, model.fields))
