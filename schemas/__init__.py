"""The tables as code: StructTypes, column names, constraints. Imports nothing of ours."""
