"""A layer on its arrays, in loops over windows, cells and slices; no code is shared with the simulator."""

import numpy as np


def cells_of(weight, bits, cell_bits, coding):
    """Columns [(level, factor), ...] of one integer weight."""
    if cell_bits is None:
        return [(weight, 1)]
    base = 2**cell_bits
    if coding == "offset":
        value, found = weight + 2 ** (bits - 1), []
        for i in range(-(-bits // cell_bits)):
            found.append((value // base**i % base, base**i))
        return found
    found = []
    for sign in (1, -1):
        value = max(sign * weight, 0)
        for i in range(max(1, -(-(bits - 1) // cell_bits))):
            found.append((value // base**i % base, sign * base**i))
    return found


def slices_of(value, bits, signed, dac_bits, coding="twos-complement"):
    """[(driven, factor), ...] of one integer input."""
    if signed and dac_bits is not None and coding != "twos-complement":
        return _magnitude_slices(value, bits, dac_bits, coding)
    width = bits if dac_bits is None else min(dac_bits, bits)
    found, done, rest = [], 0, value % 2**bits
    while done < bits:
        take = min(width, bits - done)
        digit = rest % 2**take
        rest //= 2**take
        factor = 2**done
        if signed and done + take == bits:
            if take == 1:
                factor = -factor
            elif digit >= 2 ** (take - 1):
                digit -= 2**take
        found.append((digit, factor))
        done += take
    return found


def _magnitude_slices(value, bits, dac_bits, coding):
    places = [2 ** (dac_bits * i) for i in range(max(1, -(-(bits - 1) // dac_bits)))]

    def digits(magnitude):
        return [magnitude // place % 2**dac_bits for place in places]

    if coding == "sign-magnitude":
        sign = -1 if value < 0 else 1
        return [(sign * digit, place) for digit, place in zip(digits(abs(value)), places, strict=True)]
    positive = list(zip(digits(max(value, 0)), places, strict=True))
    return positive + [(digit, -place) for digit, place in zip(digits(max(-value, 0)), places, strict=True)]


def run(mapping, levels, weight, weight_bits, array, input_bits, signed, read):
    """(m, OH, OW) accumulators; `read(sum)` is what the converter makes of one sum."""
    shape = mapping.shape
    top, bottom, left, right = shape.padding
    padded = np.pad(levels, ((0, 0), (top, bottom), (left, right)))
    flat = weight.reshape(-1)
    result = np.zeros((shape.m, *shape.output))
    for region in mapping.regions:
        origins = region.origins()
        for tile in region.tiles():
            kept = region.kept(tile)
            for activation, slots in enumerate(origins):
                inputs = [
                    int(padded[c, slots[s][0] * shape.stride[0] + y, slots[s][1] * shape.stride[1] + x])
                    for c, y, x, s in zip(
                        tile.row_channel, tile.row_y, tile.row_x, tile.row_slot, strict=True
                    )
                ]
                driven = [
                    slices_of(value, input_bits, signed, array.dac_bits, array.input_coding)
                    for value in inputs
                ]
                for column in range(tile.columns):
                    if not kept[activation, column]:
                        continue
                    stored = [
                        cells_of(
                            int(flat[index]) if index >= 0 else 0, weight_bits, array.cell_bits, array.coding
                        )
                        for index in tile.weight_index[:, column]
                    ]
                    total = 0.0
                    at_once = array.rows_driven or tile.rows
                    for first in range(0, tile.rows, at_once):
                        rows = slice(first, first + at_once)
                        total += _sum_read(driven[rows], stored[rows], first, array, weight_bits, read)
                    y, x = slots[tile.col_slot[column]] + (tile.col_y[column], tile.col_x[column])
                    result[tile.col_channel[column], y, x] += total
    return result


def _sum_read(driven, stored, first, array, weight_bits, read):
    """What a column's rows from `first` on, driven at once, add to the accumulator."""
    offset = array.cell_bits is not None and array.coding == "offset"
    if array.cell_bits is not None and array.converts == "differences":
        if offset:
            return _less_reference(driven, stored, first, array.cell_bits, weight_bits, read)
        return _pairs_read(driven, stored, read)
    total = 0.0
    for part in range(len(driven[0])):
        factor = driven[0][part][1]
        for cell in range(len(stored[0])):
            found = sum(d[part][0] * s[cell][0] for d, s in zip(driven, stored, strict=True))
            total += factor * stored[0][cell][1] * read(found)
        if offset:
            level = cells_of(0, weight_bits, array.cell_bits, "offset")[-1]
            found = sum(d[part][0] * level[0] for d in driven)
            total -= factor * level[1] * read(found)
    return total


def _pairs_read(driven, stored, read):
    """Columns of positive weights less those of negative ones, each pair one conversion."""
    total, pairs = 0.0, len(stored[0]) // 2
    for part in range(len(driven[0])):
        for cell in range(pairs):
            found = sum(
                d[part][0] * (s[cell][0] - s[pairs + cell][0]) for d, s in zip(driven, stored, strict=True)
            )
            total += driven[0][part][1] * stored[0][cell][1] * read(found)
    return total


def _less_reference(driven, stored, first, cell_bits, weight_bits, read):
    """Columns less one whose cells are half on; what that takes off too much is counted, not converted."""
    highest = 2 ** min(cell_bits, weight_bits) - 1
    total = 0.0
    for part in range(len(driven[0])):
        factor = driven[0][part][1]
        taken_off = 0
        for cell in range(len(stored[0])):
            found = 0
            for row, (d, s) in enumerate(zip(driven, stored, strict=True), first):
                half_on = highest // 2 + row % 2
                found += d[part][0] * (s[cell][0] - half_on)
                taken_off += d[part][0] * half_on * s[cell][1]
            total += factor * stored[0][cell][1] * read(found)
        inputs = sum(d[part][0] for d in driven)
        total += factor * (taken_off - inputs * 2 ** (weight_bits - 1))
    return total
