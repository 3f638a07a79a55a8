"""What Java's optimizing compiler passes over (lib.session)."""

from __future__ import annotations

from lib.session import QUICKLY_COMPILED, diagnosed, tell_the_compiler


def test_the_optimizing_compiler_passes_over_what_runs_seldom(spark) -> None:
    # Java shows the newest directives first, and c1 before c2.
    quick, optimizing = diagnosed(spark, "compilerDirectivesPrint").split("Directive:")[1].split("c2 directives:")
    assert [pattern for pattern in QUICKLY_COMPILED if pattern not in quick] == []
    assert "Exclude:true" not in quick
    assert "Exclude:true" in optimizing


def test_a_jvm_is_told_once(spark) -> None:
    before = diagnosed(spark, "compilerDirectivesPrint")
    tell_the_compiler(spark)
    assert diagnosed(spark, "compilerDirectivesPrint") == before
