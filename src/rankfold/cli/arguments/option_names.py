"""The options of all commands by name, so that a file of them is checked without importing every command."""

OPTION_NAMES = frozenset(
    """
    adc adc-bits adc-range after-epochs allocation array arrays augment baseline-epochs batch bits
    block budget calibration-images captured cell-bits cheapest check checkpoint chip chips
    choose-mappings classes coding compare compile converts count-rounding coverage csv dac-bits data
    decomposition device digital distil distil-unlabelled drift entries epochs exclude fit
    force-low-rank front fuse gpus groups hardware image-size images include input input-bits
    input-coding ir-drop json kinds layer layer-bits layer-images learn-from linear list mapping
    mappings-only max-arrays max-cycles max-drop max-energy max-interval max-latency max-loss measure
    method metric model mux no-distil no-drift-compensation no-stream noise-aware normalise objective
    onnx-format out output-noise outputs padding page pareto per-layer picture plan pointwise
    precision price-again program-noise rank rate ratio ray read-noise reading reconstruct redraw
    resume rounding row-tiles rows-driven sampler search search-images seed seeds shift show
    show-table space steering steps stream stuck stuck-high study technology threads time-limit to
    together trials trust-code uniform vary weight-bits window windows-for workers
    """.split()  # noqa: SIM905 (to be read)
)
