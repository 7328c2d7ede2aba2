"""`benchmarks/claim.py`: the tables of the page on the published claim are what it prints."""

from pathlib import Path

import claim

PAGE = Path(__file__).parents[1] / "docs" / "reproduction.md"


def test_the_tables_of_the_page_are_these(capsys) -> None:
    claim.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    page = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line in rows] == rows


def test_a_row_says_how_many_times_the_plan_needs_less() -> None:
    plan = claim.Trained("plan", 0.9, None, published=100, best=200, energy=50)
    other = claim.Trained("other", 0.85, 0.01, published=250, best=300, energy=40, seeds=3)
    told = claim.row(plan, other)
    assert told == (
        "other",
        "85.00 +- 1.00 % (3 seeds)",
        "+5.00",
        "250",
        "2.50",
        "300",
        "1.50",
        "40",
        "25 % more",
    )
