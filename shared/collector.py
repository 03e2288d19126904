"""How often a process of ours looks for garbage that goes round in rings."""

import gc


def spare_the_collector() -> None:
    """Collect rarely, and never look again at what is here now.

    What a connection and a job leave is freed by its counts. To look at thousands of them again is a fifth of what it
    costs a gateway to take in a crowd; a worker's ten jobs at once are new objects enough for a look each few
    milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
