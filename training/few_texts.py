"""How many texts are few, for `train` and for what it is compared with alike."""

# With fewer texts than these, words and parts of words may occur once less often: at 500 and 2,000 texts that is worth
# up to two points, with all texts as much is lost as won (decision 17).
FEW_TEXTS = 4_000
