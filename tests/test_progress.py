"""How far work on batches is."""

from rankfold.progress import counted, heard


class Told:
    """Keeps what it hears."""

    def __init__(self):
        self.words = []

    def begin(self, what, total, unit="images"):
        self.words.append((what, total, unit))

    def advance(self, count=1, detail=""):
        self.words.append(count)

    def end(self, summary=""):
        self.words.append("end")


def test_batches_pass_and_their_samples_are_counted():
    told, batches = Told(), [("abc", {}), ("d", {})]
    assert list(heard(batches, told, "evaluation", 4, len)) == batches
    assert told.words == [("evaluation", 4, "images"), 3, 1, "end"]


def test_items_pass_and_are_counted():
    told = Told()
    assert list(counted("ab", told, "laying out", 2)) == ["a", "b"]
    assert told.words == [("laying out", 2, "layers"), 1, 1, "end"]
