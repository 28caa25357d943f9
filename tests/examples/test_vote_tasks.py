"""What members learn from, are chosen by and are asked is never the same."""

import pytest
from vote.tasks import SECTIONS, Amounts, products, sections

AMOUNTS = Amounts(taught=8, probes=8, asked=8)


def packages(each: int) -> str:
    """A paragraph of two binary packages for each source."""
    return "\n".join(
        f"Package: {section}-{number}{binary}\nSource: {section}-{number} (1.0)\nSection: {section}\n"
        f"Description: {section} tool {number}\n and more of it\n"
        for section in (*SECTIONS, "libs")
        for number in range(each)
        for binary in ("", "-data")
    )


def test_a_product_is_asked_for_its_last_digit_and_once() -> None:
    task = products(Amounts(200, 200, 320), seed=0)

    items = [*task.taught, *task.probes, *task.asked]
    assert len({item.prompt for item in items}) == 720
    for item in items:
        factors, shown = item.prompt.split(" = ")
        first, second = map(int, factors.split(" * "))
        assert f"{shown}{task.choices[item.label]}" == str(first * second)


def test_another_seed_asks_other_products() -> None:
    assert products(AMOUNTS, seed=0) == products(AMOUNTS, seed=0)
    assert products(AMOUNTS, seed=0).asked != products(AMOUNTS, seed=1).asked


def test_a_source_is_asked_for_once_and_sections_as_often() -> None:
    task = sections(AMOUNTS, 0, packages(each=3))

    items = [*task.taught, *task.probes, *task.asked]
    assert len({item.prompt for item in items}) == 24
    assert {SECTIONS[item.label] for item in items} == set(SECTIONS)
    assert all(item.prompt.startswith(f"{SECTIONS[item.label]} tool") for item in items)
    assert all(item.prompt.endswith("\nSection:") and "more" not in item.prompt for item in items)


def test_too_few_packages_are_told_with_their_sections() -> None:
    with pytest.raises(ValueError, match=r"3 packages of each section .* fewer are in admin, games"):
        sections(AMOUNTS, 0, packages(each=2))


def test_more_products_than_there_are_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="900 items are needed; products has 720"):
        products(Amounts(300, 300, 300), seed=0)
