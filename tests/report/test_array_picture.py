"""The picture of a layer on its arrays: cells, colours, captions, files, and the command that draws it."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from rankfold.cli.main import main
from rankfold.cost import planned_mapping
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec, map_layer, map_low_rank
from rankfold.plan import LayerPlan, WindowLayer
from rankfold.report.arrays.cells import (
    UNUSED,
    ZERO,
    cell_colours,
    cell_copies,
    groups_of,
    resampled,
    shown_tiles,
)
from rankfold.report.arrays.colours import UNUSED_CELL, ZERO_CELL, copy_colours, paler, rgb
from rankfold.report.arrays.picture import dense_panels, layer_chart, low_rank_panels, write_layer_picture
from rankfold.report.arrays.planes import PALE, main_regions, output_colours
from rankfold.report.arrays.words import METHOD_NAMES, caption, other_windows
from rankfold.workload.shape import ConvShape

ONE = (1, 1, 1, 1)
PLAIN = ConvShape("plain", 16, 16, (3, 3), (12, 12), padding=ONE)
WIDE = ConvShape("wide", 6, 16, (5, 5), (14, 14))
DEPTHWISE = ConvShape("depthwise", 24, 24, (3, 3), (7, 7), padding=ONE, groups=24)
DILATED = ConvShape("dilated", 16, 16, (3, 3), (20, 20), padding=(2, 2, 2, 2), dilation=(2, 2))
STRIDED = ConvShape("strided", 3, 32, (7, 7), (40, 40), stride=(2, 2), padding=(3, 3, 3, 3))
SHAPES = (PLAIN, WIDE, DEPTHWISE, DILATED, STRIDED)
SQUARE = ArraySpec(64, 64)


def mappings():
    for shape in SHAPES:
        for array in (SQUARE, ArraySpec(128, 96)):
            for method in MAPPINGS:
                yield map_layer(shape, array, method)
    for method in ("im2col", "sdk", "best"):
        pair = map_low_rank(PLAIN, SQUARE, 4, 2, method)
        yield pair.stage1
        yield pair.stage2


def test_cells_are_coloured_where_a_weight_is_and_nowhere_else():
    greys = np.stack([rgb(ZERO_CELL), rgb(UNUSED_CELL)])
    for mapping in mappings():
        for second in (False, True):
            for item in shown_tiles(mapping, 4):
                tile, copies = item.tile, cell_copies(item.region, item.tile)
                assert copies.shape == (mapping.array.rows, mapping.array.columns)
                used = copies[: tile.rows, : tile.columns]
                np.testing.assert_array_equal(used >= 0, tile.weight_index >= 0)
                assert (copies >= 0).sum() == tile.weights
                assert (used == ZERO).sum() == tile.rows * tile.columns - tile.weights
                assert (copies == UNUSED).sum() == copies.size - used.size
                colours = cell_colours(item.region, tile, second)
                grey = (colours[:, :, None] == greys).all(axis=3).any(axis=2)
                np.testing.assert_array_equal(~grey, copies >= 0)


def test_a_cell_has_the_colour_of_the_output_pixel_it_adds_to():
    for mapping in mappings():
        region = mapping.regions[0]
        down, right = (1, 1) if region.phase is None else region.footprint.spacing
        colours = copy_colours(region.window)
        for item in shown_tiles(mapping, 2):
            if item.region is not region:
                continue
            found = cell_colours(region, item.tile)
            for row, column in np.argwhere(item.tile.weight_index >= 0)[::37]:
                pixel = item.tile.col_y[column] // down, item.tile.col_x[column] // right
                np.testing.assert_array_equal(found[row, column], colours[pixel])


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("window", [(1, 1), (1, 4), (2, 2), (2, 3), (8, 1), (2, 4), (4, 8), (7, 8), (8, 8)])
def test_kernel_copies_have_colours_of_their_own(window, second):
    colours = copy_colours(window, second)
    assert colours.shape == (*window, 3)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == window[0] * window[1]


def lab(colours, matrix):
    """CIE L*a*b* of uint8 colours as an eye with this matrix (of linear RGB) sees them."""
    part = colours / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8729]])
    xyz = np.clip(linear @ np.transpose(matrix), 0, 1) @ to_xyz.T
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


# No green cones, and no red ones (Machado, Oliveira & Fernandes 2009, severity 1).
DEUTAN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTAN = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]


@pytest.mark.parametrize("eye", [np.eye(3), DEUTAN, PROTAN], ids=["all cones", "deutan", "protan"])
def test_weights_differ_from_empty_cells_for_every_eye(eye):
    greys = lab(np.stack([rgb(ZERO_CELL), rgb(UNUSED_CELL)]), eye)
    for second in (False, True):
        for window in ((1, 1), (1, 2), (2, 2), (2, 3), (1, 8), (2, 4), (3, 7), (4, 8)):
            cells = lab(copy_colours(window, second).reshape(-1, 3), eye)
            assert np.linalg.norm(cells[:, None] - greys, axis=-1).min() > 10


def test_the_two_stages_share_no_colour():
    first, second = (
        {tuple(c) for c in copy_colours((2, 2), stage).reshape(-1, 3).tolist()} for stage in (False, True)
    )
    assert not first & second


def test_output_pixels_have_the_colour_of_their_place_in_the_window():
    for mapping in mappings():
        wanted = np.zeros((*mapping.shape.output, 3), np.uint8)
        regions = main_regions(mapping)
        for region in reversed(regions):
            down, right = (1, 1) if region.phase is None else region.footprint.spacing
            origins = region.origins().reshape(-1, 2)
            # The first window that yields a pixel counts, so it is drawn last.
            for number, (y, x) in reversed(list(enumerate(origins.tolist()))):
                (a, b), bright = region.window, copy_colours(region.window)
                colours = bright if region is regions[0] and number == 0 else paler(bright, PALE)
                wanted[y : y + a * down : down, x : x + b * right : right] = colours
        np.testing.assert_array_equal(output_colours(mapping), wanted)


def test_resampling_keeps_every_cell():
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resampled(image, 36, 40), image.repeat(3, axis=0).repeat(2, axis=1))
    blocks = image.reshape(4, 3, 5, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resampled(image, 4, 5), blocks, atol=0.5 + 1e-9)
    np.testing.assert_allclose(resampled(image, 7, 11).mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1)


def test_the_tiles_shown_are_of_different_groups():
    stage = map_low_rank(PLAIN, ArraySpec(32, 32), 4, 2, "sdk").stage1
    shown = shown_tiles(stage, 4)
    assert {group for item in shown for group in groups_of(item.tile)} == {0, 1, 2, 3}
    every = list(stage.regions[0].tiles())
    assert all(np.array_equal(every[item.number - 1].weight_index, item.tile.weight_index) for item in shown)
    dense = shown_tiles(map_layer(PLAIN, ArraySpec(32, 32), "im2col"), 3)
    assert [item.number for item in dense] == [1, 2, 3]


def test_the_array_that_windows_share_is_shown():
    mapping = map_layer(WIDE, SQUARE, "best")
    assert mapping.regions[0].overflow is not None
    shown = shown_tiles(mapping, 3)
    assert shown[-1].region.slots > 1
    assert shown[-1].number == mapping.tile_count


def text_of(svg):
    return " ".join(
        " ".join(element.itertext())
        for element in ElementTree.fromstring(svg.encode()).iter()
        if element.text
    )


def test_captions_hold_the_numbers(tmp_path):
    path = tmp_path / "a.svg"
    panels = dense_panels(PLAIN, SQUARE) + low_rank_panels(PLAIN, SQUARE, 4, 2, ("sdk",))
    write_layer_picture(path, PLAIN, SQUARE, panels, "net")
    text = text_of(path.read_text())
    assert "plain of net on 64x64 arrays" in text
    for method in MAPPINGS:
        mapping = map_layer(PLAIN, SQUARE, method)
        assert METHOD_NAMES[method] in text
        for phrase in (
            f"window {mapping.window[0]}x{mapping.window[1]}:",
            f"{mapping.tile_count} array",
            f"{mapping.cycles:,} cycles",
            f"utilisation {mapping.utilisation:.1%}",
            f"{mapping.over_bound:.2f} × lower bound",
        ):
            assert phrase in text
    pair = map_low_rank(PLAIN, SQUARE, 4, 2, "sdk")
    assert f"{pair.cycles:,} cycles in all" in text
    for stage in (pair.stage1, pair.stage2):
        assert all(phrase in text for phrase in caption(stage))


def test_methods_of_the_same_picture_share_a_panel():
    full = ConvShape("full", 64, 64, (3, 3), (8, 8), padding=ONE)
    panels = dense_panels(full, SQUARE)
    assert [panel.title for panel in panels] == ["im2col, SDK, VW-SDK, Tetris-SDK, best"]
    assert len(dense_panels(STRIDED, ArraySpec(256, 256))) > 2


def test_other_windows_are_listed():
    shape = ConvShape("tetris", 32, 32, (3, 3), (16, 16), padding=ONE)
    mapping = map_layer(shape, ArraySpec(512, 512), "tetris-sdk")
    told = other_windows(mapping)
    for region in mapping.regions[1:4]:
        assert f"{region.window[0]}x{region.window[1]}" in told
    assert other_windows(map_layer(shape, SQUARE, "im2col")) == ""


def test_the_same_layer_gives_the_same_bytes(tmp_path):
    panels = dense_panels(WIDE, SQUARE, ("best",))
    for suffix in (".svg", ".png"):
        paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for path in paths:
            write_layer_picture(path, WIDE, SQUARE, panels)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    # The PNG file is white behind, 200 dpi, and in the colours of the window's four pixels.
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] == pytest.approx(690 / 72 * 200, abs=1)
    assert (pixels[0] == 255).all()
    for colour in copy_colours((2, 2)).reshape(-1, 3):
        assert (pixels == colour).all(axis=2).any()


def test_large_arrays_stay_small_files():
    array = ArraySpec(512, 512)
    panels = dense_panels(STRIDED, array, ("vw-sdk",))
    chart = layer_chart(STRIDED, array, panels)
    assert len(chart.svg) < 600_000
    assert "magnified" in chart.svg


def test_all_shapes_can_be_drawn():
    for shape in (DEPTHWISE, DILATED, ConvShape("fc", 64, 10, (1, 1), (1, 1), kind="linear")):
        for array in (ArraySpec(16, 128), ArraySpec(128, 16))[: 1 + (shape is DEPTHWISE)]:
            drawn = layer_chart(shape, array, dense_panels(shape, array, ("best",))).svg.replace("xlink:", "")
            text = "".join(ElementTree.fromstring(drawn).itertext())
            assert shape.name in text
            assert f"{map_layer(shape, array, 'best').cycles:,} cycles" in text


def test_other_endings_are_refused(tmp_path):
    for name in ("a.pdf", "a", "png"):
        with pytest.raises(InputError, match=r"\.svg or a \.png"):
            write_layer_picture(tmp_path / name, PLAIN, SQUARE, dense_panels(PLAIN, SQUARE, ("im2col",)))
    assert not list(tmp_path.iterdir())


def test_draw_writes_a_picture(tmp_path, capsys):
    out = tmp_path / "new" / "a.svg"
    command = ["draw", "resnet20", "--layer", "layer3.1.conv2", "--array", "64x64", "--out", str(out)]
    assert main([*command, "--groups", "4", "--rank", "1/8"]) == 0
    assert str(out) in capsys.readouterr().out
    text = text_of(out.read_text())
    assert "4 groups, rank 8 each" in text
    assert (
        f"{map_low_rank(_layer('resnet20', 'layer3.1.conv2'), SQUARE, 4, 8, 'sdk').cycles} cycles in all"
        in text
    )
    assert main([*command, "--compare"]) == 0
    assert "im2col, SDK, VW-SDK" in text_of(out.read_text())


def test_a_pointwise_layer_is_low_rank_only_if_asked(tmp_path, capsys):
    table, out = tmp_path / "t.csv", tmp_path / "a.svg"
    table.write_text("name,in_channels,out_channels,kernel,input\np,32,16,1,4\n")
    command = ["draw", str(table), "--layer", "p", "--rank", "1/8", "--mapping", "im2col", "--out", str(out)]
    assert main(command) == 2
    assert "--pointwise" in capsys.readouterr().err
    assert main([*command, "--pointwise"]) == 0
    assert "Low-rank, im2col" in text_of(out.read_text())


def _layer(model, name):
    from rankfold.workload import zoo_network

    return next(layer for layer in zoo_network(model, None).layers if layer.name == name)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--layer", "layer1.0.conv9"], "layer1.0.conv1"),
        (["--layer", "nothing"], "starts with conv1, layer1.0.conv1"),
        (["--layer", "layer1.0.conv1", "--out", "a.pdf"], ".svg or a .png"),
        (["--layer", "layer1.0.conv1", "--out", "a.pdf", "--page", "a.html"], ".svg or a .png"),
        (["--page", "a.html"], "--layer"),
        (["--layer", "layer1.0.conv1", "--groups", "4"], "needs a rank"),
        (["--layer", "layer1.0.conv1", "--groups", "3", "--rank", "2"], "must divide"),
        (["--layer", "layer1.0.conv1", "--rank", "17"], "full rank"),
        (["--layer", "layer1.0.conv1", "--rank", "1/3"], "whole number"),
        (["--layer", "layer1.0.conv1", "--mapping", "none"], "--mapping"),
        ([], "--layer"),
    ],
)
def test_wrong_inputs_get_one_sentence(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["draw", "resnet20", "--out", "a.svg", *arguments])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert error.startswith("rankfold: ")
    assert told in error
    assert not list(Path().iterdir())


def test_a_window_layer_shows_whose_pixel_a_cell_is_and_which_cells_are_free():
    shape = ConvShape("body", 2, 3, (3, 3), (6, 6), padding=(1, 1, 1, 1))
    kind = WindowLayer((2, 2), 20)
    entry = LayerPlan("body", kind, mapping="im2col")
    mapping = planned_mapping(shape, ArraySpec(24, 16), entry)
    assert mapping.window == (2, 2)
    (region,) = mapping.regions
    (tile,) = region.tiles()
    copies = cell_copies(region, tile, mapping.matrix)
    # Twelve columns, of three channels for each pixel; four rows and four columns of the array stay unused.
    expected = np.full((24, 16), UNUSED)
    expected[:20, :12] = np.repeat(np.arange(4), 3)
    np.testing.assert_array_equal(copies, expected)
    found = cell_colours(region, tile, matrix=mapping.matrix)
    bright = copy_colours((2, 2)).reshape(-1, 3)
    for row, column in np.ndindex(20, 12):
        pixel = column // 3
        i, j = divmod(pixel, 2)
        y, x = divmod(row % 16, 4)  # of a box of 4x4 inputs
        copied = i <= y < i + 3 and j <= x < j + 3
        assert np.array_equal(found[row, column], bright[pixel]) == copied
    plane = output_colours(mapping)
    assert plane.shape == (6, 6, 3)
    assert np.array_equal(plane[:2, :2].reshape(-1, 3), bright)
    assert np.array_equal(plane[2:4, 4:], paler(copy_colours((2, 2)), PALE))
