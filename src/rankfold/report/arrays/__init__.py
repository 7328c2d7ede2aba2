"""The parts of the picture of a layer on its arrays: colours, cells, planes, arrays and words."""
