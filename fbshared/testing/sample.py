"""The environment of an online shop, for demonstrations and first tests."""

from fbshared.testing.data import (
    bootstrap,
    condition,
    flag,
    in_segment,
    not_in_segment,
    rule,
    segment,
    split,
)
from fbshared.testing.environment import Raw


def sample_environment() -> Raw:
    """A new bootstrap message: flags of every type, with all that a flag can have, and their segments."""
    return bootstrap(_flags(), _segments())


def _flags() -> list[Raw]:
    return [
        flag(
            "new-checkout",
            name="New checkout",
            targets=[(True, ["alice", "bob"]), (False, ["mallory"])],
            rules=[
                rule(True, in_segment("staff"), name="Staff first"),
                rule(
                    split((True, 0.5), (False, 0.5)),
                    condition("country", "IsOneOf", ["de", "fr", "nl"]),
                    condition("app-version", "BiggerEqualThan", "4.2"),
                    name="Half of the first countries",
                ),
            ],
            serve=False,
            tags=["checkout"],
        ),
        flag("one-click-payment", name="One-click payment", serve=split((True, 0.25), (False, 0.75))),
        flag("gift-wrapping", name="Gift wrapping", enabled=False, tags=["checkout"]),
        flag(
            "search-ranking",
            "string",
            ["classic", "semantic", "hybrid"],
            name="Search ranking",
            rules=[rule("semantic", condition("keyId", "StartsWith", "tester-"), name="Testers")],
            serve=split(("classic", 0.6), ("semantic", 0.3), ("hybrid", 0.1), experiment=1.0),
            off="classic",
            tags=["search"],
        ),
        flag(
            "search-suggestions",
            name="Suggestions while typing",
            rules=[
                rule(False, condition("slow-device", "IsTrue"), name="Not on slow devices"),
                rule(False, condition("user-agent", "MatchRegex", "(?i)bot|crawler"), name="Not for robots"),
            ],
            serve=True,
            insights_enabled=False,
            tags=["search"],
        ),
        flag(
            "page-size",
            "number",
            [24, 48, 96],
            name="Products on a page",
            rules=[rule(96, condition("screen-width", "BiggerThan", 1920), name="Large screens")],
            off=24,
            tags=["search"],
        ),
        flag(
            "free-shipping-from",
            "number",
            [49.9, 29.5, 0],
            name="Free shipping from (EUR)",
            rules=[
                rule(0, in_segment("loyal-customers"), name="Loyal customers"),
                rule(29.5, condition("country", "Equal", "nl"), name="Netherlands"),
            ],
            off=49.9,
        ),
        flag(
            "banner",
            "json",
            [
                {"text": "Welcome", "colour": "#336699", "closable": True},
                {"text": "Winter sale", "colour": "#b22222", "closable": False},
                {},
            ],
            name="Banner on the start page",
            rules=[
                rule({}, condition("plan", "NotOneOf", ["free", "basic"]), name="Nothing for those who pay"),
            ],
        ),
        flag(
            "recommendations",
            "json",
            [{"model": "co-purchase", "items": 4}, {"model": "embedding", "items": 8}],
            name="Recommendations",
            serve=split(
                ({"model": "co-purchase", "items": 4}, 0.8),
                ({"model": "embedding", "items": 8}, 0.2),
                by="household",
            ),
            off={"model": "co-purchase", "items": 4},
        ),
        flag(
            "support-chat",
            "string",
            ["robot", "human"],
            name="Support chat",
            off="robot",
            rules=[
                rule(
                    "human",
                    not_in_segment("trial-accounts"),
                    condition("mail", "Contains", "@"),
                    condition("language", "NotEqual", "tlh"),
                    name="Customers with an address",
                ),
            ],
        ),
        flag(
            "price-test",
            "string",
            ["control", "lower", "rounded"],
            name="Price experiment",
            serve=split(("control", 0.34), ("lower", 0.33), ("rounded", 0.33), by="household", experiment=0.5),
            off="control",
            experiment_on_targets=True,
            targets=[("control", ["auditor"])],
        ),
        flag("maintenance", name="Maintenance page", serve=False),
        flag("old-basket", name="Basket of last year", archived=True, tags=["checkout"]),
    ]


def _segments() -> list[Raw]:
    return [
        segment(
            "staff",
            name="Staff",
            included=["alice"],
            excluded=["mallory"],
            rules=[[condition("mail", "EndsWith", "@shop.example")]],
        ),
        segment(
            "loyal-customers",
            name="Loyal customers",
            rules=[
                [condition("orders", "BiggerEqualThan", 10), condition("returns", "LessThan", 3)],
                [condition("member-since", "LessEqualThan", 2020)],
            ],
        ),
        segment("trial-accounts", name="Trial accounts", rules=[[condition("plan", "Equal", "trial")]]),
        segment("beta-2024", name="Testers of 2024", included=["carol"], archived=True),
    ]
