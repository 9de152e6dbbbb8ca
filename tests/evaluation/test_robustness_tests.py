from lgg.evaluation.robustness_tests import TESTS
from lgg.reporting.measures import MEASURES


def test_every_test_gives_a_measure_that_tables_show_and_every_such_measure_has_its_test():
    shown = [measure.test for measure in MEASURES.values() if measure.test]
    assert set(TESTS) == set(shown)
