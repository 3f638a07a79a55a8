"""A version of a Delta table that no other version can be taken for, as it is stored in the ledger, in commits and where rows are published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PinnedVersion:
    """It differs between any two versions of Delta tables, also if a table was recreated.

    A table that is restored from a copy keeps its id and uses the same version numbers again, with other commits.

    Attributes:
        commit: digest of the commit that made the version; empty where an older release has stored none, or the log has lost it.
    """

    number: int
    table_id: str
    commit: str = ""

    @classmethod
    def of(cls, text: str) -> PinnedVersion:
        """The version that `str` has written, or NUMBER:ID without a commit.

        Raises:
            ValueError: another text.
        """
        number, table_id, commit = [*text.split(":", 2), ""][:3]
        return cls(int(number), table_id, commit)

    def __str__(self) -> str:
        return f"{self.number}:{self.table_id}:{self.commit}"
