"""The status of a row after scoring, and its reason. Separate from the tables, since code that scores without Spark uses them too."""

# Columns that are null, or missing without Spark, if the model's labels are not paths.
OF_LEVELS = ("category_path", "level_confidence", "published_path")

CATEGORIZED_STATUS = "categorized"
REVIEW = "review"
UNCLASSIFIABLE = "unclassifiable"

NO_TEXT = "no text"
NO_WORDS = "no words in the text"
LOW_CONFIDENCE = "confidence below the threshold"
UNFAMILIAR = "unfamiliar"
