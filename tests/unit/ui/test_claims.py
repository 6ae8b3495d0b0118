"""Claims are bounded, and nobody's are forgotten for somebody else's."""

from ui.claims import Claims


def test_of_very_many_claims_the_oldest_are_forgotten():
    claims = Claims(limit=2)
    for thing in ("one", "two", "three"):
        claims.give(thing, "ada")
    assert [claims.has(thing, "ada") for thing in ("one", "two", "three")] == [False, True, True]
    assert claims.take("four", "bob") and not claims.take("four", "ada")


def test_nobody_has_others_claims_forgotten_and_what_two_have_is_nobody_s_once_both_give_it_up():
    claims = Claims(limit=9, limit_each=2)
    claims.give("cat", "bob")
    for number in range(20):
        claims.give(str(number), "ada")
    assert claims.has("cat", "bob") and claims.list_given() == {"bob": ["cat"], "ada": ["18", "19"]}
    claims.give("cat", "ada")
    assert not claims.has("18", "ada") and not claims.drop("cat", "bob") and claims.has("cat", "ada")
    assert claims.drop("cat", "ada") and claims.list_given() == {"ada": ["19"]}
