"""Names and labels of others stay text, however hostile or odd."""

from __future__ import annotations

from dataclasses import replace

from common.reader import Page
from common.report_samples import run
from rankfold.report.run_page.page import render_report

HOSTILE = "</text></svg><script>alert('&amp;$x^2$')</script>\"><img src=x onerror=alert(1)>"


def test_hostile_text_stays_text():
    sample = run("resnet8")
    layers = tuple(
        replace(layer, name=f"{HOSTILE}{layer.name}", reason=HOSTILE) for layer in sample.result.layers
    )
    data = replace(sample.result.data, source=HOSTILE)
    result = replace(
        sample.result,
        layers=layers,
        model=HOSTILE,
        command=HOSTILE,
        data=data,
        device=HOSTILE,
        untouched=((HOSTILE, HOSTILE),),
    )
    planned = tuple(replace(layer, name=f"{HOSTILE}{layer.name}") for layer in sample.plan.layers)
    plan = replace(sample.plan, model=HOSTILE, layers=planned)
    hostile = replace(sample, label=HOSTILE, result=result, plan=plan)
    for runs in ([hostile], [hostile, hostile]):
        source = render_report(runs, HOSTILE)
        page = Page(source)
        assert "<script" not in source and "<img" not in source
        assert not {"script", "img"} & set(page.tags)
        assert HOSTILE in page.text


def test_odd_labels_are_drawn():
    sample, names = run("resnet8"), ("層一.conv", "_hidden", "$a_b$", "a\nb", "x" * 300, "")
    layers = tuple(
        replace(layer, name=f"{names[number % len(names)]}{number}")
        for number, layer in enumerate(sample.result.layers)
    )
    odd = replace(sample, result=replace(sample.result, layers=layers))
    alone = Page(render_report([replace(odd, label=names[0])]))
    compared = Page(render_report([replace(odd, label=name) for name in names]))
    for number, name in enumerate(names):
        written = " ".join(f"{name}{number}".split())
        assert written in alone.text and written in compared.text
