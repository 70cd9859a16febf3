"""Kinds of errors: their exit codes tell them apart, also between processes."""

from edge.errors import EdgeDifomError


def test_each_kind_of_error_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in EdgeDifomError.__subclasses__()]
    assert len(codes) > 10
    assert len(set(codes)) == len(codes)
    assert not {0, 1} & set(codes)
