"""What a row is called after scoring, and why. Apart from the tables, since whoever scores without Spark says the same."""

# Columns that are null, or not there without Spark, where the model's labels are no paths.
OF_LEVELS = ("category_path", "level_confidence", "published_path")

CATEGORIZED_STATUS = "categorized"
REVIEW = "review"
UNCLASSIFIABLE = "unclassifiable"

NO_TEXT = "no text"
NO_WORDS = "no words in the text"
LOW_CONFIDENCE = "confidence below the threshold"
UNFAMILIAR = "unfamiliar"
