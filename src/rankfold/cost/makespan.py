"""The shortest time for the work of tiles on arrays: in copies where arrays are to spare, else in turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Load = tuple[int, int]  # tiles, activations of each per image


def least_time(stage: Sequence[Load], arrays: int) -> int:
    """The smallest t with sum over tiles of ceil(activations / t) <= arrays: exact, since that many copies
    are needed for t.
    """
    # By halving, as fewer arrays suffice for more time; at the upper end one copy a tile does.
    low, high = 1, max(times for _, times in stage)
    while low < high:
        middle = (low + high) // 2
        if sum(tiles * -(-times // middle) for tiles, times in stage) <= arrays:
            high = middle
        else:
            low = middle + 1
    return low


def makespan(stage: Sequence[Load], arrays: int) -> int:
    """Cycles of one stage with all arrays: copies where some are to spare, else several tiles an array.

    More arrays never make it slower: with one more, adding the next tile leaves the arrays, sorted, no busier
    one by one.
    """
    if sum(tiles for tiles, _ in stage) <= arrays:
        return least_time(stage, arrays)
    busy = Counter({0: arrays})  # arrays by their cycles so far, so that equal tiles cost no time each
    # Longest first (Graham, 1969): short tiles come last and level out what long ones left uneven.
    for tiles, times in sorted(stage, key=lambda load: load[1], reverse=True):
        busy = _longest_first(busy, tiles, times)
    return max(busy)


def _longest_first(busy: Counter[int], tiles: int, times: int) -> Counter[int]:
    """Gives tiles, one by one, to the least busy array: an array busy for b takes them at b, b + times, ...
    in order of these.
    """
    # The turn of the last tile, without a step for each: the turns up to a cycle are counted, and the
    # cycle halved in on. The least busy array alone has enough of them at the upper end.
    low, high = min(busy), min(busy) + tiles * times
    while low < high:  # the first cycle at or before which all are taken
        middle = (low + high) // 2
        if sum(number * max(0, (middle - cycles) // times + 1) for cycles, number in busy.items()) >= tiles:
            high = middle
        else:
            low = middle + 1
    # All turns before that cycle are taken; of those in it, as many as there are tiles left.
    before = {cycles: max(0, (low - 1 - cycles) // times + 1) for cycles in busy}
    left = tiles - sum(number * before[cycles] for cycles, number in busy.items())
    after: Counter[int] = Counter()
    for cycles, number in busy.items():
        reached = cycles + before[cycles] * times
        last = 0
        if reached == low:
            last = min(left, number)
        left -= last
        after[reached + times] += last
        after[reached] += number - last
    # Unary plus drops the times that no array has.
    return +after


def least_makespan(stage: Sequence[Load], arrays: int) -> int:
    """Cycles that no way to give tiles to arrays can beat.

    Of the n longest tiles some array has ceil(n/arrays), none of them shorter than the last of the n; and no
    array does less than its share of all activations.
    """
    if sum(tiles for tiles, _ in stage) <= arrays:
        return least_time(stage, arrays)
    work = sum(tiles * times for tiles, times in stage)
    best, longest = -(-work // arrays), 0
    # Whole loads at a time: among tiles of one length the last gives the highest bound.
    for tiles, times in sorted(stage, key=lambda load: load[1], reverse=True):
        longest += tiles
        best = max(best, -(-longest // arrays) * times)
    return best
