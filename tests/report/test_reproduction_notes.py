"""What a page says its numbers depend on: the hardware by its name, whatever it is called."""

from __future__ import annotations

from dataclasses import replace

from common.report_samples import run
from rankfold.machine import load_hardware
from rankfold.report.run_page.page import render_report
from rankfold.report.run_page.reproduction import reproduction


def test_the_hardware_is_named():
    told = dict(reproduction([run()]))
    assert told["hardware"] == "not recorded"  # as in results of version 0.1
    known = replace(run(), result=replace(run().result, hardware=load_hardware("sram-22nm")))
    assert dict(reproduction([known]))["hardware"] == "sram-22nm"
    odd = replace(load_hardware("sram-22nm"), name="<b>mine</b> & yours")
    page = render_report([replace(run(), result=replace(run().result, hardware=odd))])
    assert "&lt;b&gt;mine&lt;/b&gt; &amp; yours" in page
    assert "<b>mine" not in page


def test_widths_that_differ_are_said():
    result = run().result
    first = replace(result.layers[0], weight_bits=4, input_bits=8)
    odd = replace(run(), result=replace(result, layers=(first,)))
    assert dict(reproduction([odd]))["weights"] == "4 bits (8 of inputs) in 1 layer"
