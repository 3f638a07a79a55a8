"""The commit protocol as a small state machine: two writers in every order, with a death and a lost answer at every point.

The table is a list of commits with their rows. Delta's handling of a commit is modelled here, as tests/faults/test_races.py sees
it on real tables; the conclusions that our jobs draw from the history are their own code: `state_of`, `step_behind`,
`undone_unseen`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from lib.tables.commits import Commit, TableState, sequence_of, state_of
from lib.tables.publish import MOST_TRIES, Step, changed_since, step_behind
from lib.tables.rollback import undone_unseen
from schemas.tables import PUBLISHED, ROLLED_BACK

MOST_ATTEMPTS = 3
Rows = Mapping[str, str]
# One step of a writer is between two yields; it returns the exit code.
Writer = Generator[None, None, int]


class Conflict(Exception):
    """Delta's error for a commit that another one preceded (with its name, for `is_conflict`)."""

    def __init__(self) -> None:
        super().__init__("DELTA_CONCURRENT")


class LostAnswer(Exception):
    """The commit succeeded, but the client gets an error."""


class Choices:
    """One way through a program that makes choices: the given ones first, then the first option of each; records the alternatives."""

    def __init__(self, given: Sequence[int]) -> None:
        self._given, self.taken, self.options = list(given), [], []  # type: ignore[var-annotated]

    def one_of(self, options: int) -> int:
        place = len(self.taken)
        chosen = self._given[place] if place < len(self._given) else 0
        self.taken.append(chosen)
        self.options.append(options)
        return int(chosen)


def every_way(program: Callable[[Choices], None]) -> int:
    """Run `program` once for each way through its choices; returns how many there are."""
    waiting: list[list[int]] = [[]]
    ways = 0
    while waiting:
        given = waiting.pop()
        choices = Choices(given)
        program(choices)
        ways += 1
        for place in range(len(given), len(choices.taken)):
            for other in range(1, choices.options[place]):
                waiting.append([*choices.taken[:place], other])
    return ways


@dataclass(frozen=True)
class Stored:
    """A commit, the rows after it, the number of its transaction, and whether it has rewritten files."""

    commit: Commit
    rows: Rows
    number: int | None
    rewrites: bool


@dataclass
class Table:
    """A Delta table and its ledger: (run id, status) of each row."""

    choices: Choices
    stored: list[Stored] = field(default_factory=list)
    ledger: list[tuple[str, str]] = field(default_factory=list)
    # At most one lost answer on each way: two faults at once would be too many ways for the time.
    answers_to_lose: int = 1

    @property
    def version(self) -> int:
        return len(self.stored) - 1

    @property
    def commits(self) -> list[Commit]:
        """Newest first."""
        return [one.commit for one in reversed(self.stored)]

    def rows(self, version: int) -> Rows:
        return self.stored[version].rows

    @property
    def state(self) -> TableState:
        return state_of(self.commits)

    def add(self, operation: str, rows: Rows, note: Mapping[str, object] | None, number: int | None, rewrites: bool) -> None:
        commit = Commit(len(self.stored), operation, note)
        self.stored.append(Stored(commit, dict(rows), number, rewrites))

    def answer(self) -> None:
        if self.answers_to_lose and self.choices.one_of(2):
            self.answers_to_lose -= 1
            raise LostAnswer

    def last_number(self, version: int) -> int:
        return max((one.number for one in self.stored[: version + 1] if one.number is not None), default=-1)

    def overwrite(self, version: int, rows: Rows, note: Mapping[str, object], number: int) -> None:
        """Commit on this version, or not at all."""
        if self.version > version:
            raise Conflict
        self.add("WRITE", rows, note, number, rewrites=True)
        self.answer()

    def merge(self, changes: Rows, note: Mapping[str, object], number: int) -> Generator[None, None, None]:
        """Reads the newest version when it begins, whatever the run had read; it is skipped if its number is not new."""
        began = self.version
        if self.last_number(began) >= number:
            return
        yield
        newer = self.stored[began + 1 :]
        if any(one.rewrites or one.number is not None for one in newer) or (newer and self.choices.one_of(2)):
            # Another transaction of the sequence, files gone, or rows of the same files, which depends on the files they are in.
            raise Conflict
        self.add("MERGE", {**self.rows(self.version), **changes}, note, number, rewrites=True)
        self.answer()


def run(table: Table, name: str, source: Rows, mode: str) -> Writer:
    """A run, with `--missing keep`."""
    identity = f"{sorted(source.items())}"
    for attempt in range(MOST_ATTEMPTS):
        state = table.state
        recover(table, state)
        if state.last and state.last.get("identity") == identity:
            return 0
        present = table.rows(state.version)
        changes = {one: text for one, text in source.items() if present.get(one) != text}
        note = note_of(state, f"{name}{attempt}", PUBLISHED) | {"identity": identity}
        kind = "note" if mode == "incremental" and not changes else mode
        yield
        try:
            step = yield from publish(table, kind, {**present, **source} if mode == "full" else changes, note)
        except Conflict:
            step = Step.MOVED
        if step is Step.DONE:
            yield
            write_ledger(table, note)
            return 0
        if step is Step.FAILED:
            return 1
    # What of it is in the table is recorded before the error.
    recover(table, table.state)
    return 1


def publish(table: Table, kind: str, rows: Rows, note: Mapping[str, object]) -> Generator[None, None, Step]:
    read = version = int(str(note["read_version"]))
    number = int(str(note["sequence"]))
    run_id = str(note["run"]["run_id"])  # type: ignore[index]
    for _ in range(MOST_TRIES):
        conflict: Exception | None = None
        # Between this look and the start of a merge there is a tenth of a second, which this model ignores.
        if kind != "full" and changed_since(table.commits, version):
            return Step.MOVED
        try:
            if kind == "full":
                table.overwrite(version, rows, note, number)
            elif kind == "note":
                table.add("SET TBLPROPERTIES", table.rows(table.version), note, None, rewrites=False)
            else:
                yield from table.merge(rows, note, number)
        except (Conflict, LostAnswer) as error:
            conflict = error
        yield
        commits = [commit for commit in table.commits if commit.version > read]
        step = step_behind(commits, run_id, conflict)
        if step is not Step.AGAIN:
            return step
        version = table.version
    return Step.MOVED


def release(table: Table, note: Mapping[str, object], changes: Rows) -> Writer:
    """Releases a run that was held back on the version that `note` names."""
    read = int(str(note["read_version"]))
    recover(table, table.state)
    if any(commit.changes_rows for commit in table.commits if commit.version > read):
        return 2
    yield
    step = yield from publish(table, "incremental", changes, note)
    if step is not Step.DONE:
        return 1
    yield
    write_ledger(table, note)
    return 0


def rollback(table: Table, to: int) -> Writer:
    commits, read = table.commits, table.version
    recover(table, state_of(commits))
    yield
    restored = state_of([commit for commit in commits if commit.version <= to])
    note = {
        **(restored.last or {}),
        "read_version": read,
        "restored": to,
        "sequence": sequence_of(commits) + 1,
        "run": {"run_id": f"back{to}", "status": ROLLED_BACK},
    }
    table.add("RESTORE", table.rows(to), note, None, rewrites=True)
    yield
    recover(table, table.state)
    return 1 if undone_unseen(table.commits, read) else 0


def maintain(table: Table) -> Writer:
    yield
    table.add("OPTIMIZE", table.rows(table.version), None, None, rewrites=True)
    return 0


def another_hand(table: Table, change: str) -> Writer:
    yield
    rows = dict(table.rows(table.version))
    if change == "adds a row":
        rows["f"] = "of another hand"
    else:
        rows.pop("1", None)
    # An added row is in its own file; the file of a deleted row is rewritten.
    table.add("WRITE", rows, None, None, rewrites=change != "adds a row")
    return 0


def recover(table: Table, state: TableState) -> None:
    rows = ((run.run_id, run.status) for run in state.runs)
    table.ledger += reversed(list(takewhile(lambda row: row not in table.ledger, rows)))


def write_ledger(table: Table, note: Mapping[str, object]) -> None:
    run: Mapping[str, str] = note["run"]  # type: ignore[assignment]
    row = run["run_id"], run["status"]
    if row not in table.ledger:
        table.ledger.append(row)


def note_of(state: TableState, run_id: str, status: str) -> dict[str, object]:
    record = {"run_id": run_id, "status": status, "rows_in": 1, "model_version": "m/1"}
    return {"read_version": state.version, "sequence": state.sequence + 1, "run": record, "decisions": "d"}


def to_its_end(writer: Writer) -> int:
    while True:
        try:
            next(writer)
        except StopIteration as end:
            return int(end.value)


def beginning(choices: Choices) -> Table:
    """Two runs; a rollback can go to the first (version 1)."""
    table = Table(choices, answers_to_lose=0)
    table.add("CREATE TABLE", {}, None, None, rewrites=False)
    for number, rows in enumerate(({"1": "a", "2": "b"}, {"1": "a", "2": "c", "3": "d"})):
        to_its_end(run(table, f"night{number}-", rows, "full"))
    table.answers_to_lose = 1
    return table


def interleaved(table: Table, writers: Mapping[str, Writer], choices: Choices) -> dict[str, int | None]:
    """Take the writers' steps in some order; one writer may die at one of them. Returns their exit codes, None for one that died."""
    running = dict(writers)
    codes: dict[str, int | None] = {}
    may_die = True
    while running:
        names = list(running)
        name = names[choices.one_of(len(names))] if len(names) > 1 else names[0]
        if may_die and choices.one_of(2):
            may_die = False
            running.pop(name).close()
            codes[name] = None
            continue
        try:
            next(running[name])
        except StopIteration as end:
            codes[name] = int(end.value)
            del running[name]
    return codes
