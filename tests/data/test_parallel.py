import time

import pytest

from gdino_lightning.data.parallel import map_pictures


def test_results_come_in_the_order_of_the_pictures():
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert map_pictures(slow_first, range(20), "squaring", progress=False) == [number**2 for number in range(20)]


def test_an_error_of_one_picture_is_raised():
    with pytest.raises(ZeroDivisionError):
        map_pictures(lambda number: 1 // number, [1, 0], "dividing", progress=False)


def test_nothing_is_written_where_there_is_no_terminal(capfd):
    map_pictures(str, range(3), "writing", progress=True)
    assert capfd.readouterr().err == ""
