"""Labelled texts to a verified bundle: the only home of TensorFlow (the reference engine aside)."""
