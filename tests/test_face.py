"""The public names are few; the older ones say where they are now."""

import warnings

import pytest

import nla


@pytest.mark.parametrize("name", nla.__all__)
def test_public_names_are_there_without_a_word(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(nla, name) is not None


@pytest.mark.parametrize("name", sorted(nla._DEPRECATED))
def test_old_names_say_where_they_are_now(name):
    with pytest.warns(FutureWarning, match=rf"nla\.{name} is nla\.{nla._DEPRECATED[name]} now"):
        assert getattr(nla, name) is not None


def test_what_never_was_is_an_error():
    with pytest.raises(AttributeError):
        nla.nonsense  # noqa: B018
