"""Whose trainings go on, without a trainer."""

from populace.policies.training_shares import TrainingShares, chosen


def test_each_tenant_has_a_training_before_any_has_two() -> None:
    flood = [("flood", f"flood-{number}") for number in range(1000)]

    assert chosen([*flood, ("quiet", "late")], 4) == ["flood-0", "late", "flood-1", "flood-2"]
    assert chosen(flood, 2) == ["flood-0", "flood-1"]
    assert chosen([], 2) == []


def test_tenants_train_together_until_one_is_ahead_by_the_slack() -> None:
    shares = TrainingShares(slack_s=10.0)
    shares.train(["flood", "quiet"])
    took = {"flood": 0.0, "quiet": 0.0}
    for _ in range(1000):
        for tenant in shares.due(took):
            seconds = 15.0 if tenant == "flood" else 1.0
            took[tenant] += seconds
            shares.charge(tenant, seconds)

    assert abs(took["flood"] - took["quiet"]) <= 10.0 + 15.0
    assert shares.due(["flood"]) == {"flood"}, "alone it does not wait"


def test_who_comes_later_has_no_claim_on_the_time_before() -> None:
    shares = TrainingShares(slack_s=1.0)
    shares.train(["old"])
    shares.charge("old", 1000.0)

    shares.train(["old", "new"])

    assert shares.due(["old", "new"]) == {"old", "new"}
    shares.charge("old", 2.0)
    assert shares.due(["old", "new"]) == {"new"}


def test_all_begin_anew_once_none_trains() -> None:
    shares = TrainingShares(slack_s=1.0)
    shares.train(["a"])
    shares.charge("a", 1000.0)
    shares.train([])

    shares.train(["a", "b"])

    assert shares.due(["a", "b"]) == {"a", "b"}
