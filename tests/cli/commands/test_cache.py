"""`rankfold cache`: what data sets leave on the disk."""

from common.command_line import refuse
from rankfold.cli.main import main
from rankfold.training.cache import cached, clear_cache
from rankfold.training.data import load_images


def printed_by(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_decoded_images_are_shown_and_cleared(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("RANKFOLD_CACHE", str(folder))
    assert f"{folder}: 0 data sets, 0.0 MiB" in printed_by(capsys, "cache")
    whole, small = load_images("digits"), load_images("digits", (4, 4))
    mine = folder / "notes.txt"
    mine.write_text("not of the cache")
    other = folder / "0123"
    other.mkdir()
    # What a process left that was killed while it decoded.
    stray = folder / f".{cached()[0].folder.name}.abc"
    stray.mkdir()
    (stray / "half").write_bytes(bytes(10))
    entries = cached()
    count = len(whole.train.labels) + len(whole.test.labels)
    assert [(entry.source, entry.images) for entry in entries] == [
        ("digits", f"{count:,} of 8x8"),
        ("digits", f"{count:,} of 4x4"),
    ]
    sizes = [sum(path.stat().st_size for path in entry.folder.iterdir()) for entry in entries]
    assert [entry.size for entry in entries] == sizes
    printed = printed_by(capsys, "cache", "show")
    assert "1,797 of 8x8" in printed and f"{folder}: 2 data sets" in printed
    (entries[1].folder / "meta.json").write_text("{}")
    assert [entry.source for entry in cached()] == ["digits", "damaged"]
    assert "MiB freed" in printed_by(capsys, "cache", "clear")
    assert sorted(path.name for path in folder.iterdir()) == ["0123", "notes.txt"]
    assert clear_cache() == 0
    assert small.input_size == (1, 4, 4)
    load_images("digits")
    assert len(cached()) == 1


def test_other_actions_are_refused(capsys):
    assert "did you mean clear? See rankfold cache --help" in refuse(capsys, "cache", "claer")
