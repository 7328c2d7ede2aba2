"""The names of the files in the folder of a run, each spelt here and nowhere else."""

RUN = "run.json"  # which run the folder belongs to; written first
PLAN = "plan.json"
WEIGHTS = "model.safetensors"
CHECKPOINT = "checkpoint.pt"  # the newest state of training, while the run is not complete
RECONSTRUCTION = "reconstruction.pt"  # the network after its newest block, likewise
HISTORY = "history.csv"
RESULT = "result.json"  # written last: a folder that has it is complete
REPORT = "report.html"
BASELINE = "baseline.safetensors"  # the dense weights of a run that trains them itself
BASELINE_CHECKPOINT = "baseline-checkpoint.pt"
DECOMPOSITION = "decomposition.json"  # in the place of a result where an ONNX file was decomposed

MARKERS = (RUN, RESULT, DECOMPOSITION)  # a folder with one of them belongs to a run
# What a run needs; the report can be made anew from the rest.
NEEDED = (*MARKERS, PLAN, WEIGHTS, HISTORY, CHECKPOINT, RECONSTRUCTION, BASELINE, BASELINE_CHECKPOINT)
