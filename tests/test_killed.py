import threading
import time

from killed import killed_after
from tqdm import tqdm


def hold_the_bars() -> None:
    tqdm.get_lock().acquire()
    time.sleep(60)


def test_who_is_killed_within_a_bar_leaves_later_bars_free() -> None:
    tqdm.get_lock()  # there before the fork, as in a process that has shown a bar
    assert killed_after(1, hold_the_bars)
    later = threading.Thread(target=lambda: list(tqdm(range(2), disable=False)), daemon=True)
    later.start()
    later.join(10)
    assert not later.is_alive()
