"""One hint for misspelt words, wherever they are read."""

from noprop_ode._hints import did_you_mean


def test_near_words_parts_of_words_and_everything():
    known = ["training.epochs", "training.evaluation_steps", "epochs", "seed"]
    assert did_you_mean("epocs", known).startswith("Did you mean 'epochs'")
    assert "'training.evaluation_steps'" in did_you_mean("steps", known)
    assert did_you_mean("xyz", ["b", "a", "a"]) == "Known are a, b."
    assert did_you_mean("xyz", ["a"], otherwise="Nothing is near.") == "Nothing is near."
    assert did_you_mean("xyz", []) == "None is known here."
